"""Two studies or trials beside each other, as plain typed values."""

from __future__ import annotations

from pydantic import Field

from whichtune.records.trial import Record
from whichtune.report.model import Call, MetricHead


class Side(Record):
    """One of the two: a study, or one trial."""

    name: str
    """As it was asked for."""
    what: str
    """`study` or `trial`."""
    study: str
    candidates: list[str]
    """Those with scores on the split."""


class Scored(Record):
    """One half of a pair."""

    candidate: str
    mean: float
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    trainings: int
    trials: list[str]
    """Their ids."""


class Crossing(Record):
    """A candidate of the first side and one of the second, on the same rows."""

    first: Scored
    second: Scored
    difference: float
    """How much better the first is; negative where the second is."""
    low: float
    high: float
    p_value: float
    better: str | None = None
    """`A` or `B`; None where neither is shown to be better."""
    call: Call
    sentence: str
    """One of the legal sentences on pairs."""


class Unpaired(Record):
    """What was not compared, and why."""

    what: str
    reason: str


class Setting(Record):
    """A setting that differs."""

    name: str
    first: str
    second: str


class Versus(Record):
    """Everything that `compare` shows."""

    first: Side
    second: Side
    split: str
    rows: int
    """Rows that both were scored on."""
    metric: MetricHead
    margin: float
    """In points, or per cent of the best loss."""
    margin_amount: float
    """In units of the metric."""
    crossings: list[Crossing] = Field(default_factory=list)
    unpaired: list[Unpaired] = Field(default_factory=list)
    scope: list[str] = Field(default_factory=list)
    settings: list[Setting] = Field(default_factory=list)
    """Where the two differ in what was asked for."""
