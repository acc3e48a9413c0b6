"""What studies of several training sizes found, as plain typed values; scores are in the metric's own unit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.records.trial import Record


class SizePoint(Record):
    """One candidate trained on so many rows."""

    size: int
    """Labelled rows that might be used, training and validation together."""
    mean: float
    """Over its chains of subsets."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    chains: int
    """Subsets it was trained on."""


class SizeCurve(Record):
    """One candidate over the sizes."""

    candidate: str
    fixed: bool = False
    """It looks at no training row: the same answers at every size."""
    points: list[SizePoint] = Field(default_factory=list)
    """Smallest size first."""


class SizeReport(Record):
    """The candidates over the sizes, and where they cross."""

    metric: str
    hold: Literal["steps", "epochs"] = "steps"
    """What of a training stays as it is on all rows."""
    curves: list[SizeCurve] = Field(default_factory=list)
    sentences: list[str] = Field(default_factory=list)
    """Which candidate wins below and above which size, as brackets."""
