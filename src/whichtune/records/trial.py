"""The record of one trial: what was asked, what came out, what it cost, and on what it rests.

A quantity that was not measured is None, and the reason stands in `unmeasured` under its dotted name
(`costs.energy_joules`): never 0 and never a sentinel.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from whichtune.records.retention import RetentionFigures

PROTOCOL_VERSION = 1
"""Raised when the same spec would no longer give the same outcome; part of every trial id."""

Status = Literal["running", "finished", "failed", "does-not-fit", "unsupported", "pruned"]
Family = Literal["baseline", "prompter", "tuner"]
Role = Literal["search", "final", "size"]
Purpose = Literal["own", "grid", "repeat", "beyond"]
"""Why a search tries a setting: it is the entry's own, stands on the grid (or was drawn), is one of the best once
more, or lies beyond the end of the range at which the best one was."""


class Record(BaseModel):
    """Base of records: closed, so that a field nobody knows is noticed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Parameters(Record):
    """Logical elements, quantized or not; trunk, head and added ones apart."""

    trunk: int | None = None
    """Elements of the trunk as loaded."""
    head: int | None = None
    """Elements of the head."""
    added: int | None = None
    """Elements the method adds beside trunk and head (adapters, virtual rows)."""
    trainable: int | None = None
    """Elements the method opens, head included, as measured on the tensors."""
    trainable_theory: int | None = None
    """The same by integer arithmetic on configuration fields; None where the family has no formula."""
    inert: int | None = None
    """Part of `trainable` held still because its true gradient is zero or the head does not reach it."""
    inert_names: list[str] = Field(default_factory=list)
    """Names of the inert tensors."""

    @property
    def total(self) -> int | None:
        """Trunk, head and added elements together."""
        known = (self.trunk, self.head, self.added)
        return None if any(part is None for part in known) else sum(part for part in known if part is not None)


class Phase(Record):
    """What one phase of a trial took."""

    seconds: float
    """Wall time claimed by this phase alone (nested phases apart)."""
    peak_bytes: int | None = None
    """Peak while the phase ran: device-allocated on a GPU, resident set on a CPU."""


class LatencyFigures(Record):
    """Time of one batch, warmed up and synchronised."""

    batch: int
    """Rows in the batch."""
    merged: bool
    """Whether the adapter was merged into the trunk."""
    phase: Literal["forward", "prefill", "decode"] = "forward"
    """One forward pass of a model with a head; running a prompt; one new token behind it."""
    plain: bool = False
    """The backbone without the method: neither merged nor unmerged."""
    tokens: int | None = None
    """Places of each row that ran: the prompt's for `prefill`, 1 for `decode`; None where that is not known."""
    median_seconds: float
    """Median over the repeats."""
    p95_seconds: float
    """95th percentile over the repeats."""

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of the whole batch a second, by the median; None where they were not counted."""
        known = self.tokens is not None and self.median_seconds > 0
        return self.batch * (self.tokens or 0) / self.median_seconds if known else None


class AloneCost(Record):
    """Cost alone: a probe of the candidate in a fresh process on the plain path."""

    steps: int
    """Timed training steps."""
    step_seconds: float | None = None
    """Median seconds of a training step."""
    examples_per_step: int | None = None
    """Rows of an optimizer step."""
    tokens_per_step: float | None = None
    """Real tokens of the timed steps, mean."""
    peak_bytes: int | None = None
    """Peak during the timed steps: device-allocated on a GPU, resident set on a CPU."""
    reserved_bytes: int | None = None
    """Peak reserved by the GPU allocator."""
    device_bytes: int | None = None
    """Peak in use on the GPU as the driver counts it."""
    saved_bytes: int | None = None
    """Bytes kept for the backward pass, by unique storage."""
    forward_flops: float | None = None
    """Floating-point operations of a step's forward passes."""
    backward_flops: float | None = None
    """Floating-point operations of a step's backward passes."""
    energy_joules: float | None = None
    """Energy of the timed steps."""
    latencies: list[LatencyFigures] = Field(default_factory=list)
    """Forward times, batch 1 and N, merged and unmerged where both exist."""
    unmeasured: dict[str, str] = Field(default_factory=dict)
    """Field name to why it is None."""


class Probe(Record):
    """`probes/<id>.json`: one candidate's cost alone, shared by its seeds."""

    id: str
    candidate: str
    method: str
    backbone: str | None = None
    device: str
    threads: int
    alone: AloneCost
    versions: dict[str, str] = Field(default_factory=dict)


class MetricValue(Record):
    """One metric of one split."""

    name: str
    """Name, such as `accuracy`."""
    value: float | None
    """The value in the metric's own unit (shares as 0..1, losses in nats); None where it is undefined."""
    direction: Literal["higher", "lower", "neither"]
    """Which way is better; `neither` describes and is never chosen by."""
    unit: Literal["share", "nats", "points", "count"]
    """What the value counts."""


class ClassFigures(Record):
    """Per-class quality on one split."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


class SplitScores(Record):
    """All scores of one trial on one split."""

    rows: int
    """Examples scored."""
    metrics: list[MetricValue]
    """The first is the one that choices and comparisons use."""
    classes: list[ClassFigures] = Field(default_factory=list)
    """One entry a label, in label order."""
    confusion: list[list[int]] | None = None
    """Rows are gold, columns predicted labels; None above 200 labels."""
    unparsed_share: float = 0.0
    """Share of answers that could not be read; they count as wrong."""
    predicted_labels: int
    """How many different labels were predicted at all."""


class Failure(Record):
    """Why a trial did not finish."""

    kind: str
    """Type of the exception."""
    message: str
    traceback: str | None = None


class TrialRecord(Record):
    """`trial.json`: everything about one trial but its curve and its predictions."""

    id: str
    study: str
    candidate: str
    """`method@backbone`, with the grid's settings in brackets; the method's name alone for baselines."""
    method: str
    """The user's name of the method entry."""
    kind: str
    """The method's kind, such as `lora`."""
    backbone: str | None = None
    """The user's name of the backbone; None for baselines."""
    baseline: bool = False
    family: Family | None = None
    """What the method is; None in older records, where `baseline` tells."""
    role: Role = "final"
    """A search trial helps to choose a setting and predicts no test row; a final one enters the verdict; one of a size
    is trained on a part of the labelled rows, for the data-size curves."""
    labels: int | None = None
    """Labelled rows, training and validation together, of a trial of a size; None where it has all of them."""
    tuned: dict[str, Any] = Field(default_factory=dict)
    """What a search varies, with this trial's values; in a final trial the chosen ones. Empty without a search."""
    purpose: Purpose | None = None
    """Why a search tried this; None in final trials."""
    seed: int
    deterministic: bool = False
    """The candidate has no randomness and runs once."""
    status: Status
    protocol: int = PROTOCOL_VERSION
    settings: dict[str, Any]
    """The method's resolved spec."""
    training: dict[str, Any] | None = None
    """The held settings as used; None for baselines."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Held settings this method changed: the comparison is unequal."""
    identity: dict[str, Any]
    """Exactly what the id hashes."""
    started_at: str
    """UTC, ISO 8601."""
    ended_at: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    git: dict[str, str | bool] | None = None
    """Commit and dirty flag of the working directory, where there is one."""
    device: dict[str, Any] = Field(default_factory=dict)
    """Name, kind, threads, kernel, precision."""
    fingerprints: dict[str, str] = Field(default_factory=dict)
    """Of data, weights, tokenizer."""
    parameters: Parameters = Parameters()
    trained_names: list[str] = Field(default_factory=list)
    """Names of the tensors the optimizer held."""
    matched_modules: list[str] = Field(default_factory=list)
    """Modules the method's targets matched."""
    phases: dict[str, Phase] = Field(default_factory=dict)
    """Partition of the wall time; what no phase claims is `other`."""
    wall_seconds: float | None = None
    probe: str | None = None
    """Id of the probe with this candidate's cost alone."""
    steps: int | None = None
    """Optimizer steps taken."""
    epochs: float | None = None
    kept_step: int | None = None
    """Step whose weights the trial ended with."""
    adapter_bytes: int | None = None
    """Size of what the method saves."""
    evaluated_merged: bool | None = None
    """Whether predictions were made with the adapter merged into the trunk."""
    checked: bool | None = None
    """Whether a clean process gave the same logits from the saved adapter; None where nothing was checked."""
    scores: dict[str, SplitScores] = Field(default_factory=dict)
    """Split name to scores."""
    cuts: dict[str, int] = Field(default_factory=dict)
    """Split name to texts cut to `max_length`."""
    cut_origins: dict[str, list[str]] = Field(default_factory=dict)
    """Split name to where the first few of them stand in the source."""
    retention: dict[str, RetentionFigures] = Field(default_factory=dict)
    """The user's name of a measure of forgetting to what it gave, before and after; taken of final trials of tuners."""
    traps: list[str] = Field(default_factory=list)
    """What was noticed: one plain sentence each."""
    unmeasured: dict[str, str] = Field(default_factory=dict)
    """Dotted field name to why it is None."""
    failure: Failure | None = None

    @property
    def known_family(self) -> Family:
        """What the method is; older records, which do not say so, hold baselines and tuners only."""
        return self.family or ("baseline" if self.baseline else "tuner")
