"""What studies of several training sizes found, as plain typed values; scores are in the metric's own unit."""

from __future__ import annotations

from pydantic import Field

from whichtune.records.trial import Record


class SizePoint(Record):
    """One candidate trained on so many rows."""

    size: int
    """Training rows."""
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
    points: list[SizePoint] = Field(default_factory=list)
    """Smallest size first."""


class SizeReport(Record):
    """The candidates over the sizes, and where they cross."""

    metric: str
    curves: list[SizeCurve] = Field(default_factory=list)
    sentences: list[str] = Field(default_factory=list)
    """Which candidate wins below and above which size, as brackets."""
