"""One trial of a tuner or a baseline: fit, predict, count."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TextIO, cast

import torch

from whichtune.data.examples import DataSet, Example
from whichtune.engine.assembly import Assembly
from whichtune.engine.batches import plan_steps, step_batches
from whichtune.engine.fit import Listener, Run, StepFigures, fit
from whichtune.engine.guards import require_only, require_room
from whichtune.engine.optimizing import Arithmetic, build_optimizer, build_schedule
from whichtune.engine.predict import glance, predict
from whichtune.engine.stopping import Keeper
from whichtune.engine.weighting import weigh_classes
from whichtune.layers.heads import TokenHead
from whichtune.layers.masks import StepKey
from whichtune.measure.clock import PhaseClock
from whichtune.measure.device import read_free_bytes
from whichtune.methods import BASELINES
from whichtune.methods.contracts import Attachment
from whichtune.models.batch import EncodedRows
from whichtune.models.count import count_elements, count_parameters
from whichtune.models.dequantizing import dequantized
from whichtune.records.predictions import Predictions
from whichtune.records.trial import Parameters, SplitScores
from whichtune.spec.method_base import TunerBase
from whichtune.spec.methods import MethodSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks.contract import Task, WrittenTask

EVALUATED = ("validation", "test")
FREE_SHARE = 0.5
"""Of the free memory that unpacked weights may take: rows, gradients and the optimizer need the rest."""


@dataclass(frozen=True)
class Material:
    """What the trials of a study share: the task, the examples, and what a model reads of them."""

    task: Task
    data: DataSet
    encoded: dict[str, EncodedRows] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a trial gives its record."""

    predictions: list[Predictions]
    steps: int | None = None
    epochs: float | None = None
    kept_step: int | None = None
    merged: bool | None = None
    encoded: Mapping[str, EncodedRows] = field(default_factory=dict)
    """The rows as they were asked, where they are not those of the material."""
    dequantized: bool = False
    """Whether plain weights stood in for those in four bits."""


class CurveWriter:
    """Write one line a step and a validation; a kill loses the last line at most."""

    def __init__(self, handle: TextIO) -> None:
        self.handle = handle

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Write loss, learning rate and gradient norm of a step."""
        self._write(
            {
                "step": figures.step,
                "loss": figures.loss,
                "learning_rate": figures.learning_rate,
                "gradient_norm": figures.gradient_norm,
            }
        )

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Write a validation's score, higher being better, and all its metrics as they are."""
        self._write({"step": step, "validation_score": score}, {"validation": _known(metrics)})

    def _write(self, line: Mapping[str, float], more: Mapping[str, Any] | None = None) -> None:
        self.handle.write(json.dumps({**_known(line), **(more or {})}) + "\n")
        self.handle.flush()


def _known(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Leave out what JSON has no word for."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


@dataclass
class TunerTrial:
    """A tuner's trial on an assembled model: call `fit`, then `predict`."""

    assembly: Assembly
    material: Material
    method: TunerBase
    training: TrainingSpec
    clock: PhaseClock
    evaluation_batch: int
    listeners: Sequence[Listener] = ()
    tests: bool = True
    """Whether the test split is predicted; a trial that helps to choose a setting does not look at it."""
    foretold: dict[str, Predictions] = field(default_factory=dict)
    """What was predicted of a split with the present weights, unmerged, beside other trials; used once."""

    def run(self) -> Outcome:
        """Train to the end, put the kept weights back, and predict the test split once, if at all."""
        with ExitStack() as stack:
            with self.clock.phase("attach"):
                plain = stack.enter_context(self.dequantizing())
            return replace(self._train_and_predict(), dequantized=plain)

    def dequantizing(self) -> AbstractContextManager[bool]:
        """Let plain weights stand in for those in four bits, where that is wanted and they fit."""
        backbone = self.assembly.backbone
        if backbone.dequantizes is None:
            return nullcontext(enter_result=False)
        most = backbone.dequantizes.most_bytes
        room = int(FREE_SHARE * (read_free_bytes(backbone.device) or 0)) if most is None else most
        return dequantized(backbone.trunk, room, self.training.precision, widen=backbone.widened)

    def _train_and_predict(self) -> Outcome:
        run = self.prepare()
        fit([run])
        return self.conclude(run)

    def conclude(self, run: Run) -> Outcome:
        """Put a trained run's kept weights back, and predict the test split once, if at all."""
        if run.failure is not None:
            raise run.failure
        run.watch.finish()
        run.keeper.put_back()
        found = [run.keeper.outcome or self._predict("validation", run.arithmetic, "validate")]
        if self.tests:
            found.append(self._predict("test", run.arithmetic, "predict"))
        plan = plan_steps(len(self.material.encoded["train"]), self.training)
        tables, merged = [table for table, _ in found], found[-1][1]
        return Outcome(tables, run.step, run.step / plan.per_epoch, run.keeper.kept_step, merged)

    def prepare(self) -> Run:
        """Build the run: optimizer, schedule, batches, stop rule."""
        attachment = self.assembly.attachment
        self.assembly.checkpoints = self.training.gradient_checkpointing
        encoded = self.material.encoded["train"]
        plan = plan_steps(len(encoded), self.training)
        require_room(self.assembly, self.training.max_length)
        rates = (self.method.learning_rate, self.training, self.method.head_learning_rate)
        optimizer = build_optimizer(attachment.trained, *rates)
        require_only(optimizer, attachment.trained)
        arithmetic = Arithmetic(self.training.precision, self.assembly.device)
        key = _key(attachment)
        weights = weigh_classes(self.training, self.material.task.labels, encoded.targets)
        if attachment.plan is not None:
            attachment.plan(plan.total)
        return Run(
            assembly=self.assembly,
            task=self.material.task,
            training=self.training,
            batches=step_batches(encoded, self.training, key.streams),
            optimizer=optimizer,
            schedule=build_schedule(optimizer, self.training, plan.total),
            arithmetic=arithmetic,
            key=key,
            keeper=self._keeper(plan.per_epoch, plan.total, arithmetic),
            clock=self.clock,
            total_steps=plan.total,
            listeners=self.listeners,
            weights=None if weights is None else torch.from_numpy(weights).to(self.assembly.device),
        )

    def _keeper(self, per_epoch: int, total: int, arithmetic: Arithmetic) -> Keeper[tuple[Predictions, bool] | None]:
        def validate(step: int) -> tuple[float, tuple[Predictions, bool] | None]:
            outcome, scores = self._validate(arithmetic)
            score, metrics = first_score(scores), {one.name: one.value for one in scores.metrics}
            for listener in self.listeners:
                listener.on_validation(step, score, metrics)
            return score, outcome

        every = self.training.validate_every or per_epoch
        return Keeper(self.training, every, total, self.assembly.attachment.saved, validate)

    def _validate(self, arithmetic: Arithmetic) -> tuple[tuple[Predictions, bool] | None, SplitScores]:
        """Score the validation split; a model that answers in words writes none of them before its training is over."""
        task = self.material.task
        if not task.head().tokens:
            outcome = self._predict("validation", arithmetic, "validate")
            return outcome, task.evaluate(outcome[0])
        written = cast(WrittenTask, task)
        given = (self.rows("validation"), self.evaluation_batch, arithmetic)
        with self.clock.phase("validate"):
            table = glance(self.assembly, written, "validation", *given)
        return None, written.glance(table)

    def _predict(self, split: str, arithmetic: Arithmetic, phase: str) -> tuple[Predictions, bool]:
        known = self.foretold.pop(split, None)
        if known is not None:
            return known, False
        with self.clock.phase(phase):
            given = (self.rows(split), self.evaluation_batch, arithmetic)
            return predict(self.assembly, self.material.task, split, *given)

    def rows(self, split: str) -> tuple[Sequence[Example], EncodedRows]:
        """Return the examples of a split, and what the model reads of them."""
        return self.material.data.examples[split], self.material.encoded[split]


def run_baseline(method: MethodSpec, material: Material, clock: PhaseClock) -> Outcome:
    """Fit and predict a method that needs no backbone."""
    task, data = material.task, material.data
    train = data.examples["train"]
    with clock.phase("step"):
        guess = BASELINES[type(method)].fit(train, task.targets(train), len(task.labels))
    tables: list[Predictions] = []
    for split in EVALUATED:
        examples = data.examples[split]
        with clock.phase("validate" if split == "validation" else "predict"):
            tables.append(task.tabulate_guesses(split, examples, guess(examples)))
    return Outcome(tables)


def first_score(scores: SplitScores) -> float:
    """Return the study's own metric, turned so that higher is better."""
    first = scores.metrics[0]
    value = float("nan") if first.value is None else first.value
    return value if first.direction == "higher" else -value


def count_assembly(assembly: Assembly) -> tuple[Parameters, str]:
    """Count logical elements of trunk, head and added ones; return why theory is missing, where it is."""
    attachment = assembly.attachment
    measured = count_elements((attachment.trained | attachment.inert).values())
    named = attachment.saved | attachment.trained | attachment.inert
    beside = {id(tensor) for name, tensor in named.items() if name.startswith("added.")}
    counts = Parameters(
        trunk=count_elements(one for one in assembly.backbone.trunk.parameters() if id(one) not in beside),
        head=count_parameters(assembly.head) + count_written(assembly),
        added=attachment.added,
        trainable=measured,
        trainable_theory=attachment.theory.trainable,
        inert=count_elements(attachment.inert.values()),
        inert_names=list(attachment.inert),
    )
    return counts, attachment.theory.reason


def count_written(assembly: Assembly) -> int:
    """Count the backbone's output head where answers are written through it and it is no part of the trunk."""
    output = assembly.backbone.output
    return output.size if isinstance(assembly.head, TokenHead) and output is not None else 0


def _key(attachment: Attachment) -> StepKey:
    assert attachment.key is not None, "every tuner hands its key back"  # noqa: S101
    return attachment.key
