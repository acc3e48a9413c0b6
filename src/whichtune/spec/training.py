"""Held settings: equal for every method of a study unless a method says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from whichtune.spec.base import Spec, raise_misfit
from whichtune.spec.retention import MeasureName, RetentionSpec

Beta = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0)]


def _check_workers(given: object) -> object:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and given > 0):
        return given
    raise ValueError("is no number of processes; allowed: whole numbers from 1 on, and `auto`")


def _check_batch(given: object) -> object:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and given > 0):
        return given
    raise ValueError("is no number of rows; allowed: whole numbers from 1 on, and `auto`")


EvaluationBatch = Annotated[int | Literal["auto"], BeforeValidator(_check_batch)]
"""A number of rows, or `auto`."""
Workers = Annotated[int | Literal["auto"], BeforeValidator(_check_workers)]
"""A number of processes, or `auto`."""

PATIENCE = 2
"""Validations without a better score before training stops, unless the method or the study says otherwise."""


class StoppingSpec(Spec):
    """When a trial ends before its last epoch."""

    patience: int | None = Field(default=None, ge=1)
    """Validations without a better score before training stops; when left out 2, and 4 for soft prompts, which stand
    still longer before they move."""
    min_gain: float = Field(default=0.0, ge=0)
    """How much better counts as better, in units of the metric."""


class TrainingSpec(Spec):
    """How every tuner is trained."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps at most; no bound when left out."""
    batch_size: int = Field(default=16, ge=1)
    """Rows a forward pass."""
    accumulate: int = Field(default=1, ge=1)
    """Batches an optimizer step; losses are summed and divided once by all their targets."""
    max_length: int = Field(default=128, ge=4)
    """Tokens a text at most; longer ones are cut, counted and shown."""
    order: Literal["random", "by-length"] = "random"
    """`by-length` draws random windows of 50 batches and sorts inside them: less padding, less random batches."""
    sampling: Literal["shuffled", "stratified", "balanced"] = "shuffled"
    """`stratified`: every batch has the classes' shares; `balanced`: classes are drawn alike, rare ones again and
    again, frequent ones over several epochs. An epoch has as many rows either way."""
    class_weights: Literal["none", "balanced", "inverse-root"] | dict[str, Weight] = "none"
    """Weight of each class in the training loss alone, never in a reported one: by the inverse of its training rows
    (`balanced`), of their root, or by label (`{rare: 5}`; a label left out weighs 1)."""
    optimizer: Literal["adamw"] = "adamw"
    """AdamW (Loshchilov & Hutter 2019)."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the two moment estimates, such as `[0.9, 0.999]`."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Term in AdamW's denominator."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled decay of matrices; biases and norms have none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after warm-up."""
    warmup: float = Field(default=0.0, ge=0)
    """Warm-up: a share of all steps below 1, a number of steps from 1 on."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Greatest norm of the whole gradient; none when null."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the forward pass; float16 needs a GPU and scales the loss."""
    gradient_checkpointing: bool = False
    """Recompute blocks in the backward pass instead of keeping their rows: less memory, more time."""
    validate_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations; once an epoch when left out."""
    stopping: StoppingSpec | None = None
    """Early stopping on the task's first metric; none when left out."""
    keep: Literal["best", "last"] = "last"
    """Which weights a trial ends with: of the best validation, or of the last step."""
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the head."""

    @field_validator("warmup")
    @classmethod
    def _warmup_counts_steps(cls, warmup: float) -> float:
        if warmup > 1 and not warmup.is_integer():
            raise ValueError("from 1 on it is a whole number of steps, below 1 a share of all steps")
        return warmup

    @field_validator("class_weights", mode="wrap")
    @classmethod
    def _weights_are_known(cls, given: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(given.replace("_", "-") if isinstance(given, str) else given)
        except ValidationError as error:
            allowed = "none, balanced, inverse-root, or a weight above 0 by label, such as `{rare: 5}`"
            raise ValueError(f"allowed: {allowed}") from error

    @model_validator(mode="after")
    def _one_order(self) -> TrainingSpec:
        if self.sampling != "shuffled" and self.order != "random":
            told = f"{self.sampling} batches cannot be sorted by length; set `order: random` or `sampling: shuffled`"
            raise_misfit([(("sampling",), told)])
        return self


class ExecutionSpec(Spec):
    """Where and how trials run; nothing here decides an outcome beyond rounding."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    """`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch in each process; when left out the cores are shared out among the workers. Written into the
    study, used again on resume."""
    workers: Workers = 1
    """Processes that train at the same time, each one trial after another; `auto` measures whether several are faster
    than one. What a measurement decided is written into the study and used again on resume."""
    evaluation_batch: EvaluationBatch = "auto"
    """Rows a forward pass when predicting; `auto` takes what a device is fastest with, and on a GPU what fits. A batch
    that does not fit is halved."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention kernel."""
    reuse_features: bool = True
    """Run a frozen trunk once over every row, and train a head alone on what is kept; probes measure without it."""
    check: bool = True
    """Reload each adapter in a clean process and compare its logits before the trial counts as done."""


class MeasureSpec(Spec):
    """What is measured beside quality."""

    probe: bool = True
    """Measure each candidate's cost alone in a fresh process."""
    probe_steps: int = Field(default=5, ge=1)
    """Training steps a probe times, after warm-up."""
    latency_repeats: int = Field(default=20, ge=1)
    """Timed forward passes per batch size."""
    retention: dict[MeasureName, RetentionSpec] = Field(default_factory=dict)
    """Your name for each measure of what tuned language models forget, taken before and after; none when left out."""
