"""What `advise` says before anything is spent, as plain values: estimates with what each rests on.

A value that is not known is None and stands beside its reason. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.records.trial import Family, Record
from whichtune.report.model import Figure

Rests = Literal["measured", "theory"]


class Estimate(Record):
    """One candidate, before it is run."""

    candidate: str
    method: str
    """The user's name of the method entry."""
    kind: str
    backbone: str | None = None
    family: Family
    unsupported: str | None = None
    """Why the method makes no sense there, where it makes none."""
    trainable: Figure = Figure()
    """Trained numbers, head included, counted on the attached method."""
    steps: int | None = None
    """Optimizer steps of one training at most; early stopping may end it before."""
    training_seconds: Figure = Figure()
    """Of the steps of one training."""
    validation_seconds: Figure = Figure()
    """Of all validations of one training."""
    test_seconds: Figure = Figure()
    """Of predicting the test split once."""
    shared_seconds: Figure = Figure()
    """Spent once for all trainings of the candidate: the pass of a frozen trunk over every row."""
    shares: str | None = None
    """Name of that pass: candidates that have the same one share it, too."""
    step_seconds: Figure = Figure()
    """Of a step of middling size, alone, as a probe takes it."""
    probe_seconds: Figure = Figure()
    """Of measuring its cost alone in a process of its own."""
    answer_seconds: Figure = Figure()
    """Of one answer by itself."""
    operations: Figure = Figure()
    """Of the steps of one training, whose trunk runs in each of them, as a probe has it."""
    answer_operations: Figure = Figure()
    """Of one answer."""
    peak_bytes: Figure = Figure()
    """Of a training step, of asking where nothing is trained."""
    saved_bytes: Figure = Figure()
    """Kept for the backward pass by the greatest batch."""
    adapter_bytes: Figure = Figure()
    rests: Rests | None = None
    """Whether its own steps were timed, or its operations stand over another candidate's rate."""
    notes: list[str] = Field(default_factory=list)

    @property
    def alone_seconds(self) -> Figure:
        """One training as a verdict prices it: steps alone, without features that are kept."""
        if self.steps is None or self.step_seconds.value is None:
            return self.training_seconds if self.family != "tuner" else self.step_seconds
        return Figure(value=self.steps * self.step_seconds.value)

    @property
    def run_seconds(self) -> float | None:
        """One final training with its validations and the test split, without what is shared."""
        parts = (self.training_seconds, self.validation_seconds, self.test_seconds)
        return _sum([part.value for part in parts])

    @property
    def searched_seconds(self) -> float | None:
        """One training of a search: it predicts no test row."""
        return _sum([self.training_seconds.value, self.validation_seconds.value])


class Basis(Record):
    """What was measured on one loaded backbone, in a process of its own."""

    backbone: str
    loaded: str
    """How it was loaded, in words."""
    candidate: str | None = None
    """Whose steps were timed; None where nothing is trained there."""
    steps: int = 0
    step_seconds: float | None = None
    cells: float | None = None
    """Hidden rows of a timed step, padding included, mean."""
    forward: float | None = None
    """Operations a second of a training step's forward pass."""
    backward: float | None = None
    predicting: float | None = None
    """Operations a second of predicting a batch."""
    before_bytes: float | None = None
    """Memory in use before the first step: process, libraries, data, weights."""
    peak_bytes: float | None = None
    """Its peak while the steps were taken."""
    working: float | None = None
    """How many times the bytes kept for the backward pass a step works with, by these two."""
    beside_bytes: float = 0.0
    """What a step works with beside, where next to nothing is kept."""
    why_no_memory: str = ""
    start_seconds: float | None = None
    """From the start of the process until backbone and rows were ready."""
    gauged_seconds: float | None = None
    """Of measuring, loading included."""


class Gauged(Record):
    """The answer of a measuring process."""

    estimates: list[Estimate] = Field(default_factory=list)
    basis: Basis | None = None
    fault: str | None = None
    """What is wrong in the input, where something is."""


class Advised(Record):
    """A candidate's estimate within the study."""

    estimate: Estimate
    least_trainings: int
    """Search trials, final seeds and smaller sizes that are certain."""
    most_trainings: int | None
    """With rates beyond an end and with contenders' seeds; None where a search ends by time."""
    least_seconds: Figure
    """Of all of its trials, at least."""
    most_seconds: Figure
    cost: Figure
    """On the study's cost axis, by which candidates are ordered."""
    beyond: list[str] = Field(default_factory=list)
    """Limits of the study, or the memory of the machine, that it is estimated to exceed."""
    place: int | None = None
    """Place in the order to try, from 1; None where it is not worth a try."""
    reason: str = ""
    """Why it stands there."""


class Advice(Record):
    """Everything that `advise` says of a study."""

    study: str
    scale: str | None = None
    device: str
    threads: int
    memory_bytes: int | None = None
    rows: dict[str, int]
    axis: Literal["seconds", "peak_bytes", "flops"]
    candidates: list[Advised]
    """In the order to try; those that are not worth one come last."""
    least_trainings: int
    most_trainings: int | None
    least_seconds: Figure
    """Of all trials."""
    most_seconds: Figure
    probe_seconds: Figure
    """Of the probes, where the study asks for them."""
    bases: list[Basis]
    rests_on: list[str]
    not_counted: list[str]


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
