"""What searches found, as plain typed values; scores are in the metric's own unit."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from whichtune.records.search import End
from whichtune.records.trial import Purpose, Record, Status


class SearchTrial(Record):
    """One search trial."""

    id: str
    purpose: Purpose | None = None
    """Why it was tried."""
    setting: dict[str, Any]
    seed: int
    status: Status
    score: float | None = None
    """On the validation split."""
    training_seconds: float | None = None
    """Phase `step` alone."""
    steps: int | None = None
    """Optimizer steps taken; with the status `pruned`, up to where the pruner ended it."""
    reason: str | None = None
    """Why it has no score."""


class TriedSetting(Record):
    """One setting with all its seeds."""

    setting: dict[str, Any]
    purpose: Purpose
    """Why it was tried first."""
    mean: float | None = None
    """Mean validation score over the seeds that have one."""
    seeds: int = 0
    """How many have one."""
    low: float | None = None
    """Least of them."""
    high: float | None = None
    """Greatest of them."""
    chosen: bool = False


class SearchRow(Record):
    """The search of one candidate."""

    candidate: str
    backbone: str | None = None
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    choices: dict[str, list[Any]] = Field(default_factory=dict)
    own: dict[str, Any] = Field(default_factory=dict)
    """What the entry itself says of the settings that were varied."""
    chosen: dict[str, Any] = Field(default_factory=dict)
    score: float | None = None
    """Mean validation score of the chosen setting: a selection score, which flatters."""
    own_score: float | None = None
    """Mean validation score of the entry's own setting; None where it was not tried or gave none."""
    settings: list[TriedSetting] = Field(default_factory=list)
    """In the order of their values."""
    trials: list[SearchTrial] = Field(default_factory=list)
    """In the order in which they were asked for."""
    ends: dict[str, End] = Field(default_factory=dict)
    """Settings of the chosen one that lie at the end of everything that was tried."""
    lost: int = 0
    """Its trials that are no longer on disk."""
    extended: bool = False
    shared_with: list[str] = Field(default_factory=list)
    """Candidates without a search of their own, which take the chosen setting."""
    rank: int | None = None
    """The rank that was searched for all of them."""
    spared_seconds: float | None = None
    """About how long searches of their own would have trained: as many trials, each as long as a final one; None where
    nothing is shared or a final trial is not known."""
    expected_best: list[float] = Field(default_factory=list)
    """Expected best validation score of 1, 2, ... settings drawn from those of the first round."""
    training_seconds: float | None = None
    """Of all its search trials together, phase `step` alone."""
    final_seconds: float | None = None
    """Of one final trial, mean, phase `step` alone."""


class SearchReport(Record):
    """The searches of a study."""

    settings: dict[str, Any]
    """The study's `search`, resolved."""
    metric: str | None = None
    """What choices were made by, on the validation split."""
    rows: list[SearchRow] = Field(default_factory=list)
    untuned: list[str] = Field(default_factory=list)
    """Candidates with nothing to tune."""
    remarks: list[str] = Field(default_factory=list)
    """What a reader should know before trusting the choices."""
