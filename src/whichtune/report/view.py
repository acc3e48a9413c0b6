"""What a reader asks of a report beyond its tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """One way of looking at a study."""

    split: str = "test"
    answers: int = 0
    """So many rows are listed with what each candidate answered."""
    by: str | None = None
    """The grouping of questions that is shown in full."""
    confusion: bool = False
    """Show which labels are taken for which."""
    candidate: str | None = None
    """Whose confusion; without a name that of the best candidate that is no baseline."""
    partial: bool = False
    """Show test figures before all trainings are in."""
    settings: tuple[str, ...] = ()
    """Overrides of what the verdict weighs, such as `margin=3`; the stored study keeps its own."""
