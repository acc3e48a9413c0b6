"""What tuning left of what models were good at, as plain typed values; losses in nats a token, shares 0..1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.records.trial import Record

Change = Literal["worse", "better", "unchanged", "not-shown"]


class ForgettingRow(Record):
    """One measure of one candidate."""

    candidate: str
    measure: str
    """The user's name of it."""
    metric: Literal["loss", "accuracy"]
    backbone: str | None = None
    trainings: int = 0
    """Trainings that were measured."""
    rows: int | None = None
    """Rows scored, the same before and after."""
    counted: int | None = None
    """Scored tokens of all rows, or the rows."""
    cut: int | None = None
    """Rows that lost tokens."""
    left_out: int | None = None
    """Rows of fewer than two tokens."""
    before: float | None = None
    """Of the untouched backbone."""
    after: float | None = None
    """Mean over trainings."""
    change: float | None = None
    """After less before, in the metric's own unit."""
    low: float | None = None
    """Lower end of the change's 95 % interval, over rows and seeds."""
    high: float | None = None
    """Upper end of it."""
    df: float | None = None
    """Degrees of freedom of the interval; None where it has no variance."""
    perplexity_before: float | None = None
    """exp(loss); None where the metric is no loss."""
    perplexity_after: float | None = None
    call: Change | None = None
    reason: str | None = None
    """Why a value is None."""


class Forgetting(Record):
    """All measures of all candidates that something was tuned in."""

    rows: list[ForgettingRow] = Field(default_factory=list)
    """Measure by measure."""
    remarks: list[str] = Field(default_factory=list)
    """On what was measured, and whether those rows are held out."""
