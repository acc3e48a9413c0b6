"""A comparison as plain typed values: what every form of the report is drawn from.

A value that is not known is None and stands beside its reason. Shares are 0..1, losses nats, times seconds, sizes
bytes; only the forms that people read turn them into other units.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.records.trial import Family, Record, Status
from whichtune.report.confusion_model import Confusion
from whichtune.report.forgetting_model import Forgetting
from whichtune.report.search_model import SearchReport
from whichtune.report.size_model import SizeReport
from whichtune.report.verdict_model import Verdict

Direction = Literal["higher", "lower", "neither"]
Unit = Literal["share", "nats", "points", "count"]
Way = Literal["plain", "unmerged", "merged"]
Call = Literal["better", "better-within-margin", "within-margin", "not-settled"]


class Figure(Record):
    """A number, or the reason why there is none."""

    value: float | None = None
    reason: str | None = None
    """Why the value is None."""


class MetricHead(Record):
    """What a column of scores holds."""

    name: str
    title: str
    direction: Direction
    unit: Unit


class Quality(Record):
    """One metric of one candidate on the split that is compared."""

    metric: str
    mean: float | None = None
    """Mean over the candidate's trainings."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    df: float | None = None
    """Degrees of freedom of the interval; None where it has no variance."""
    reason: str | None = None
    """Why there is no mean or no interval."""
    seed_deviation: float | None = None
    """Standard deviation over seeds; None below two trainings."""
    flip_deviation: float | None = None
    """Standard deviation that test rows changing sides between seeds would give alone."""
    by_seed: dict[int, float | None] = Field(default_factory=dict)
    """Seed to value."""


class Costs(Record):
    """What a candidate costs: means over its finished trainings, its probe, its size."""

    training_seconds: Figure = Figure()
    """Phase `step` alone."""
    wall_seconds: Figure = Figure()
    """A whole trial."""
    spent_seconds: Figure = Figure()
    """All trials of the candidate together, failed ones too."""
    step_seconds: Figure = Figure()
    """One training step in the probe."""
    peak_bytes: Figure = Figure()
    """Peak memory of training steps in the probe."""
    saved_bytes: Figure = Figure()
    """Kept for the backward pass."""
    forward_flops: Figure = Figure()
    """Operations of a step's forward passes."""
    backward_flops: Figure = Figure()
    """Operations of a step's backward passes."""
    latency_one: Figure = Figure()
    """Median seconds of a forward pass of one row."""
    latency_one_merged: Figure = Figure()
    """The same with the adapter merged."""
    latency_many: Figure = Figure()
    """Median seconds of a forward pass of `latency_rows` rows."""
    latency_many_merged: Figure = Figure()
    """The same with the adapter merged."""
    latency_rows: int | None = None
    """Rows of the greater batch."""
    trainable_parameters: Figure = Figure()
    trainable_share: Figure = Figure()
    """Trainable of all parameters."""
    total_parameters: Figure = Figure()
    adapter_bytes: Figure = Figure()
    """Size of what the method saves."""
    tokens_in: Figure = Figure()
    """Tokens of a row as the model reads it, mean over the rows of the split."""
    tokens_out: Figure = Figure()
    """Tokens written for a row, mean over the rows of the split."""
    item_seconds: Figure = Figure()
    """Seconds a row took, mean over the rows of the split; its share of its batch."""


class Published(Record):
    """A published figure beside ours."""

    name: str
    """Metric or cost, as the study names it."""
    published: float
    ours: float | None = None
    source: str


class GroupScore(Record):
    """The score of one candidate on the rows of one group."""

    group: str
    mean: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""


class GroupHead(Record):
    """A group of rows."""

    group: str
    """Its name; empty for rows without one."""
    rows: int


class TypeHead(Record):
    """A type of question."""

    type: str
    rows: int
    """Of the split that is compared."""
    rows_by_split: dict[str, int] = Field(default_factory=dict)


class TypeScore(Record):
    """The score of one candidate on the questions of one type; None below two rows."""

    type: str
    candidate: str
    mean: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""


class TypePair(Record):
    """Two candidates on the questions of one type."""

    type: str
    first: str
    second: str
    difference: float
    """How much better the first is; negative where the second is."""
    low: float
    """Lower end of its interval; those of all types of a pair hold together at 95 %."""
    high: float
    better: str | None = None
    """The candidate that is shown to be better; None where the interval holds 0."""
    sentence: str


class TypeTable(Record):
    """Scores by one way of telling questions apart."""

    grouping: str
    """`source`, `coco-qa` or `tdiuc`."""
    title: str
    metric: MetricHead
    types: list[TypeHead] = Field(default_factory=list)
    scores: list[TypeScore] = Field(default_factory=list)
    pairs: list[TypePair] = Field(default_factory=list)
    """Every two candidates that are not both baselines, on every type that both have two rows of."""
    adjusted_for: int
    """Types whose intervals hold together."""


class LatencyRow(Record):
    """How long one batch took in one form of a candidate's model; None where that was not measured."""

    candidate: str
    batch: int
    """Rows."""
    way: Way
    """Without the method; with it beside the model; with it merged into the model's weights."""
    forward_seconds: float | None = None
    """Median of a forward pass, for models with a head."""
    forward_p95_seconds: float | None = None
    prefill_seconds: float | None = None
    """Median of running a prompt."""
    prefill_p95_seconds: float | None = None
    prefill_tokens: int | None = None
    """Tokens of the prompt, a row."""
    decode_seconds: float | None = None
    """Median of one new token behind it, for all rows of the batch together."""
    decode_p95_seconds: float | None = None
    tokens_per_second: float | None = None
    """New tokens of the whole batch a second."""


class Said(Record):
    """What one candidate answered to one row."""

    candidate: str
    parsed: str | None = None
    """The answer read; None where it could not be read."""
    raw: str | None = None
    """All that was written; None where nothing was (labels by a head, baselines)."""


class AnswerRow(Record):
    """One row with the answers of every candidate."""

    id: str
    text: str | None = None
    gold: str | None = None
    said: list[Said]


class CandidateRow(Record):
    """One candidate."""

    candidate: str
    method: str
    kind: str
    backbone: str | None = None
    baseline: bool = False
    family: Family = "tuner"
    deterministic: bool = False
    seeds: list[int] = Field(default_factory=list)
    """Seeds of the finished trainings."""
    trial_ids: list[str] = Field(default_factory=list)
    """Ids of the finished trials, in the order of the seeds."""
    trials: dict[Status, int] = Field(default_factory=dict)
    """How many trials are in which state."""
    reason: str | None = None
    """Why no trial finished, where none did."""
    quality: list[Quality] = Field(default_factory=list)
    """One entry a metric, in the order of the comparison's metrics; empty where no trial finished."""
    unreadable: float | None = None
    """Share of answers that could not be read, mean over trainings; None where no trial finished."""
    groups: list[GroupScore] = Field(default_factory=list)
    """One entry a group, in the order of the comparison's groups; empty where rows have no groups."""
    costs: Costs = Costs()
    published: list[Published] = Field(default_factory=list)


class TrialRow(Record):
    """A trial without a result."""

    id: str
    candidate: str
    seed: int
    status: Status
    reason: str


class PairRow(Record):
    """Two candidates on the first metric, the one with the better estimate first."""

    first: str
    second: str
    difference: float
    """How much better the first is; never negative."""
    low: float
    high: float
    df: float | None = None
    p_value: float
    item_variance: float
    """Part of the variance that comes from the test rows."""
    seed_variance: float
    """Part that comes from seeds, beyond test rows changing sides."""
    call: Call
    sentence: str
    """One of the legal sentences."""


class Trap(Record):
    """Something noticed, and where."""

    sentence: str
    where: list[str]


class SharedCost(Record):
    """What trials shared: loading, encoding, checking."""

    what: str
    seconds: float
    times: int


class Missing(Record):
    """Why columns of some candidates are empty."""

    reason: str
    columns: list[str]
    candidates: list[str]


class Comparison(Record):
    """Everything a report of one study shows."""

    study: str
    folder: str
    split: str = "test"
    rows_scored: int | None = None
    """Test rows."""
    metrics: list[MetricHead] = Field(default_factory=list)
    """The first is the one that choices and comparisons use."""
    margin: float
    """As the study asks for it: points, or per cent of the best loss."""
    margin_amount: float | None = None
    """In units of the first metric."""
    trials: dict[Status, int] = Field(default_factory=dict)
    trials_planned: int | None = None
    """How many trials the study asks for; None where its plan is not known."""
    withheld: str | None = None
    """Why validation figures stand here where test figures were asked for; None where they do not."""
    asked: list[str] = Field(default_factory=list)
    """What the verdict weighs in place of the study's own margin, cost and limits."""
    candidates: list[CandidateRow] = Field(default_factory=list)
    """Best mean of the first metric first; those without one last."""
    unfinished: list[TrialRow] = Field(default_factory=list)
    pairs: list[PairRow] = Field(default_factory=list)
    verdict: Verdict | None = None
    """None on the validation split, before every trial is over, and where no candidate has scores of single rows."""
    scope: list[str] = Field(default_factory=list)
    """What the figures can and cannot be read as."""
    unequal: list[str] = Field(default_factory=list)
    """Held settings that methods changed: the comparison is unequal."""
    traps: list[Trap] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    """Anything else about the records."""
    data_notes: list[str] = Field(default_factory=list)
    shared_costs: list[SharedCost] = Field(default_factory=list)
    missing: list[Missing] = Field(default_factory=list)
    """Why there is a dash."""
    latencies: list[LatencyRow] = Field(default_factory=list)
    """Candidates whose plain model, prompt or new tokens were timed."""
    latency_answers: list[str] = Field(default_factory=list)
    """Whether each of them adds latency, a sentence each."""
    groups: list[GroupHead] = Field(default_factory=list)
    """Groups of the split's rows, where rows have groups."""
    types: list[TypeTable] = Field(default_factory=list)
    """Scores by type of question, of studies that ask questions about images."""
    by: str | None = None
    """The grouping that was asked for: it is shown in full."""
    group_metric: MetricHead | None = None
    """What the scores of groups are."""
    sizes: SizeReport | None = None
    """Scores by the number of labelled rows, of studies that ask for several."""
    forgetting: Forgetting | None = None
    """What tuning left of what models were good at; None where nothing was measured. It decides nothing."""
    search: SearchReport | None = None
    """How settings were chosen; None where none were. Its trials are no part of anything else here."""
    confusion: Confusion | None = None
    """Which labels one candidate takes for which, where that was asked for."""
    answers: list[AnswerRow] = Field(default_factory=list)
    """The first rows with what each candidate answered, as many as were asked for."""
