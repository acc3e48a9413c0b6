"""The loop. It knows runs, steps and nothing else: no method names, no model classes, no saving policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from whichtune.engine.assembly import Assembly
from whichtune.engine.guards import GradientWatch, Overflows, fitting_in_memory
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.stopping import Keeper
from whichtune.errors import TrialError
from whichtune.layers.masks import StepKey, seed_modules
from whichtune.measure.clock import PhaseClock
from whichtune.models.batch import Batched
from whichtune.spec.training import TrainingSpec
from whichtune.tasks.contract import Task


@dataclass(frozen=True)
class StepFigures:
    """One optimizer step, as the curve keeps it."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class Listener(Protocol):
    """Told of what happens; what it raises ends the run, so one that may fail guards itself."""

    def on_step(self, figures: StepFigures, total: int) -> None:
        """One step is done, of so many."""
        ...

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """The validation split was scored: the study's own metric, higher being better, and all metrics by name."""
        ...


@dataclass
class Run:
    """One member of `fit`: everything a trial trains with."""

    assembly: Assembly
    task: Task
    training: TrainingSpec
    batches: Iterator[list[Batched]]
    optimizer: torch.optim.AdamW
    schedule: LambdaLR
    arithmetic: Arithmetic
    key: StepKey
    keeper: Keeper
    clock: PhaseClock
    total_steps: int
    listeners: Sequence[Listener] = ()
    weights: Tensor | None = None
    """[classes]: what each class weighs in the training loss; None where all weigh 1."""
    step: int = 0
    failure: TrialError | None = None
    watch: GradientWatch = field(init=False)
    overflows: Overflows = field(init=False)

    def __post_init__(self) -> None:
        self.watch = GradientWatch(self.assembly.attachment.trained)
        self.overflows = Overflows(scaled=self.arithmetic.scaled)

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.step >= self.total_steps or self.keeper.stopped or self.failure is not None


def fit(runs: Sequence[Run]) -> None:
    """Train every run to its end, a step each in turn; a failure ends its own run alone and is left on it."""
    live = [run for run in runs if not run.done]
    while live:
        for run in live:
            try:
                advance(run)
            except TrialError as failure:
                run.failure = failure
        live = [run for run in live if not run.done]


def advance(run: Run) -> None:
    """Take one optimizer step: accumulate, check, clip, step, zero; then validate when it is time."""
    with run.clock.phase("step"), run.assembly.fitting(), fitting_in_memory(run.assembly.device):
        figures = move(run, accumulate(run))
    settle(run, figures)


def move(run: Run, loss: float) -> StepFigures:
    """Check and clip the gradients that stand there, take the step, and zero them."""
    trained = list(run.assembly.attachment.trained.values())
    run.arithmetic.scaler.unscale_(run.optimizer)
    # Without a bound the norm is still measured: it stands in the curve and shows a step that is not finite.
    norm = float(torch.nn.utils.clip_grad_norm_(trained, run.training.clip_norm or float("inf")))
    if run.overflows.allow(loss, norm, run.step + 1):
        run.watch.look()
    rate = float(run.schedule.get_last_lr()[0])
    run.arithmetic.scaler.step(run.optimizer)
    run.arithmetic.scaler.update()
    if run.assembly.attachment.after_step is not None:
        run.assembly.attachment.after_step(run.step + 1)
    run.schedule.step()
    run.optimizer.zero_grad(set_to_none=True)
    return StepFigures(run.step + 1, loss, rate, norm)


def settle(run: Run, figures: StepFigures) -> None:
    """Count a step that is done, tell of it, and validate when it is time."""
    tell(run, figures)
    run.keeper.consider(run.step)


def tell(run: Run, figures: StepFigures) -> None:
    """Count a step that is done, and tell of it."""
    run.step = figures.step
    for listener in run.listeners:
        listener.on_step(figures, run.total_steps)


def accumulate(run: Run) -> float:
    """Add up the gradients of one step's batches: losses are summed and divided once by all valid targets.

    Where classes have weights, both the sum and the divisor are weighted.
    """
    batches = [batch.to(run.assembly.device) for batch in next(run.batches)]
    targets = sum(run.task.count(batch.targets, run.weights) for batch in batches)
    if targets == 0:
        raise TrialError(f"step {run.step + 1} has no valid target; check labels and `max_length`")
    total = 0.0
    for batch in batches:
        run.key.advance()
        seed_modules(run.key.derive("modules"), run.assembly.device)
        with run.arithmetic.forward():
            outputs = run.assembly(batch)
        summed, _ = run.task.loss(outputs, batch.targets, run.weights)
        share = summed / targets
        run.arithmetic.scaler.scale(share).backward()
        total += float(share.detach())
    if run.assembly.attachment.penalty is not None:
        run.arithmetic.scaler.scale(run.assembly.attachment.penalty()).backward()
    return total
