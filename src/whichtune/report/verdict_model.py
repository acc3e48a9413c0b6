"""A verdict as plain typed values: what may be said, and the price list it rests on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.records.trial import Record

Axis = Literal["seconds", "peak_bytes", "flops"]


class Price(Record):
    """One row of the price list: what a candidate costs, and how far from the best it may be."""

    candidate: str
    cost: float | None = None
    """On the verdict's axis; None where it was not measured."""
    reason: str | None = None
    """Why the cost is not known."""
    score: float | None = None
    """Mean of the first metric."""
    low: float | None = None
    high: float | None = None
    estimate: float | None = None
    """Estimated shortfall from the best mean, in units of the metric; 0 for the best."""
    guaranteed: float | None = None
    """At most so far below the best, at 95 % for all rows together; None where the row is ruled out as the best."""
    alive: bool = False
    """It could be the best."""
    trainings: int = 0
    collapsed: int = 0
    """Trainings that ended no better than the majority baseline."""
    collapse_bound: float | None = None
    """Rate of collapses that its trainings leave open, 95 %; None where nothing is trained."""
    absent: str | None = None
    """Why there is nothing to compare: its trials failed or did not fit, or their scores are missing."""
    outside: list[str] = Field(default_factory=list)
    """Limits it breaks, one clause each; it is a reference row then and not compared."""
    recommended: bool = False
    guessed: bool = False
    """It is the best guess of a verdict that shows nothing."""


class Choice(Record):
    """What another margin or cost axis would recommend; None where nothing would be shown."""

    said: str
    """The margin or the axis, as a person reads it."""
    candidate: str | None = None
    unpriced: list[str] = Field(default_factory=list)
    """Candidates that may be good enough too, and whose cost is not known."""


class Verdict(Record):
    """What may be said of a study."""

    sentences: list[str] = Field(default_factory=list)
    """Legal sentences only, in the order in which they are read."""
    recommended: str | None = None
    guess: str | None = None
    """Named only where nothing is shown."""
    margin: float
    """In units of the first metric."""
    axis: Axis = "seconds"
    cost_title: str = ""
    """What the cost is made of, as a person reads it."""
    prices: list[Price] = Field(default_factory=list)
    """Cheapest first; those without a cost last."""
    other_margins: list[Choice] = Field(default_factory=list)
    other_axes: list[Choice] = Field(default_factory=list)
    test_uses: int = 1
    """Verdicts that were taken on these test rows, this one included."""
