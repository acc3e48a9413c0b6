"""Which labels a candidate takes for which, as plain typed values."""

from __future__ import annotations

from pydantic import Field

from whichtune.records.trial import Record


class ConfusedRow(Record):
    """A row that was read as another label."""

    id: str
    origin: str | None = None
    """Where it stands in its source; None where the examples are not known."""
    text: str | None = None
    times: int
    """Trainings that answered so."""


class ConfusedPair(Record):
    """Rows of one label that were answered with another one."""

    gold: str
    predicted: str | None = None
    """None for answers that could not be read."""
    count: int
    """Answers of all trainings together."""
    share: float
    """Of all answers to rows of the gold label."""
    rows: list[ConfusedRow] = Field(default_factory=list)
    """A few of them, those that most trainings took so first."""


class Confusion(Record):
    """What one candidate answered to the rows of each label, its trainings added up."""

    candidate: str
    trainings: int
    labels: list[str]
    counts: list[list[int]] | None = None
    """Rows are gold, columns predicted labels, with a last column for unreadable answers where there are some; None
    above as many labels as are printed."""
    unreadable: bool = False
    """Whether there is such a column."""
    answers: int
    """All answers, right and wrong."""
    wrong: int
    pairs: list[ConfusedPair] = Field(default_factory=list)
    """The most frequent ones first."""
    more_pairs: int = 0
    """Pairs that occur beyond those listed."""
    picture: str | None = None
    """The sheet of pictures, where one was drawn."""
    note: str = ""
    """Why there is no sheet."""
