"""What a tuner will take, from what was counted and timed: steps, validations, the test split, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from whichtune.engine.assembly import Assembly
from whichtune.engine.batches import plan_steps
from whichtune.engine.gauging import Laws, Rates, estimate_held, estimate_step, time_head
from whichtune.engine.gauging_answers import Asked, SpeechRates, estimate_answers, estimate_one
from whichtune.engine.gauging_features import Passing, estimate_features, gauge_passing
from whichtune.engine.shapes import Shape, list_evaluation, list_steps, shape_rows
from whichtune.engine.trial import TunerTrial
from whichtune.models.batch import Encoded, EncodedRows
from whichtune.models.pair import ROLES, Pair, Role
from whichtune.report.model import Figure
from whichtune.spec.seeds import Streams
from whichtune.study.advising_model import Basis, Estimate
from whichtune.study.sharing import Shared
from whichtune.tasks.asking import encode_words
from whichtune.tasks.contract import WrittenTask

HEAD_SHARE = 0.5
"""Share of a head's training step that predicting a batch with it takes."""
STOPS = "early stopping may end a training before: these are all of its steps"
PASSES_ONCE = "its trunk passes every row once, and the head trains on what is kept"
RUN_ONCE = "its frozen blocks, the first {}, run once a text"
Passings = dict[str, dict[Role | None, Passing]]


@dataclass(frozen=True)
class Ground:
    """What an estimate stands on."""

    shared: Shared
    trial: TunerTrial
    laws: Laws
    rates: Rates
    basis: Basis
    speech: SpeechRates | None = None
    passings: Passings = field(default_factory=dict)
    """Pooling to what a pass of the trunk needs, once it is known."""
    kept_blocks: int = 0
    """First blocks whose rows are kept, and that run once a text for all trials."""

    @property
    def kept_share(self) -> float:
        """Share of the trunk that is not run again."""
        if not self.kept_blocks:
            return 0.0
        assert not isinstance(self.trial.assembly.backbone, Pair)  # noqa: S101 - nothing is kept of a pair
        return self.kept_blocks / len(self.trial.assembly.backbone.blocks)

    @property
    def trained(self) -> int:
        """Trained numbers that the optimizer holds."""
        return sum(tensor.numel() for tensor in self.trial.assembly.attachment.trained.values())

    @property
    def encoded(self) -> Mapping[str, EncodedRows]:
        """The rows of every split as the backbone reads them."""
        return self.trial.material.encoded


def estimate_tuner(ground: Ground, estimate: Estimate, *, head_alone: bool) -> None:
    """Fill in what one training of a tuner will take."""
    training, laws, rates = ground.trial.training, ground.laws, ground.rates
    plan = plan_steps(len(ground.encoded["train"]), training)
    streams = Streams(ground.shared.study.seeds[0], ground.trial.method.stream)
    steps, times = list_steps(ground.encoded["train"], training, streams)
    seconds = sum(estimate_step(laws, step, rates, ground.trained) for step in steps)
    operations = sum(laws.forward.total(step) + laws.backward.total(step) for step in steps)
    estimate.steps = plan.total
    saved = ground.kept_share * sum(laws.forward.total(step) for step in steps) / rates.forward
    estimate.training_seconds = Figure(value=(seconds - saved) * times)
    estimate.step_seconds = Figure(value=seconds / len(steps))
    estimate.operations = Figure(value=operations * times)
    _weigh(ground, estimate, [batch for step in steps for batch in step])
    validations = _count_validations(plan.total, training.validate_every or plan.per_epoch)
    if head_alone and ground.shared.study.execution.reuse_features:
        _answer_rows(ground, estimate, validations)
        _reuse_features(ground, estimate, (plan.total, validations))
    elif ground.trial.material.task.head().tokens:
        _answer_in_words(ground, estimate, validations)
    else:
        _answer_rows(ground, estimate, validations)
    if training.stopping is not None:
        estimate.notes.append(STOPS)


def _count_validations(steps: int, every: int) -> int:
    """Count the validations of a training; the last step always has one."""
    return steps // every + bool(steps % every)


def _weigh(ground: Ground, estimate: Estimate, batches: list[Shape]) -> None:
    """Estimate the peak: what every candidate's process holds, and what this one holds for itself."""
    basis, saved = ground.basis, ground.laws.saved
    if saved is None:
        reason = ground.laws.why_not_saved
        estimate.saved_bytes, estimate.peak_bytes = Figure(reason=reason), Figure(reason=reason)
        return
    greatest = max(map(saved, batches))
    estimate.saved_bytes = Figure(value=greatest)
    if basis.before_bytes is None or basis.working is None:
        estimate.peak_bytes = Figure(reason=basis.why_no_memory or "memory is not metered here")
        return
    working = basis.working * greatest + basis.beside_bytes
    held = estimate_held(ground.trained, working, accumulates=ground.trial.training.accumulate > 1)
    estimate.peak_bytes = Figure(value=basis.before_bytes + held)


def _answer_rows(ground: Ground, estimate: Estimate, validations: int) -> None:
    """Estimate forward passes over whole splits."""
    size, laws, rates = ground.trial.evaluation_batch, ground.laws, ground.rates
    took = {split: laws.answering.total(list_evaluation(rows, size)) for split, rows in ground.encoded.items()}
    share = 1 - ground.kept_share
    estimate.validation_seconds = Figure(value=validations * share * took["validation"] / rates.predicting)
    estimate.test_seconds = Figure(value=share * took["test"] / rates.predicting)
    if ground.kept_blocks:
        estimate.shared_seconds = Figure(value=ground.kept_share * sum(took.values()) / rates.predicting)
        estimate.shares = f"{ground.basis.backbone}, {ground.kept_blocks} blocks"
        estimate.notes.append(RUN_ONCE.format(ground.kept_blocks))
    one = laws.answering(shape_rows(ground.encoded["test"], _middle(ground.encoded["test"])))
    estimate.answer_seconds = Figure(value=one / rates.alone)
    estimate.answer_operations = Figure(value=one)


def _reuse_features(ground: Ground, estimate: Estimate, counts: tuple[int, int]) -> None:
    """Estimate a head that trains alone: the trunk's one pass, then steps that never run the trunk."""
    trial, size, (steps, validations) = ground.trial, ground.trial.evaluation_batch, counts
    pooling = trial.assembly.attachment.pooling
    if pooling not in ground.passings:
        passing = gauge_passing(trial.assembly, ground.encoded["train"], size, trial.training.precision)
        ground.passings[pooling] = passing
    seconds, _ = estimate_features(ground.passings[pooling], ground.encoded, size)
    estimate.shared_seconds = Figure(value=seconds)
    estimate.shares = f"{ground.basis.backbone} {pooling}"
    step = time_head(trial, _feature_width(trial.assembly, trial.method.pooling))
    batches = {split: -(-len(rows) // size) for split, rows in ground.encoded.items()}
    estimate.training_seconds = Figure(value=step * steps)
    estimate.validation_seconds = Figure(value=HEAD_SHARE * step * batches["validation"] * validations)
    estimate.test_seconds = Figure(value=HEAD_SHARE * step * batches["test"])
    estimate.notes.append(PASSES_ONCE)


def _answer_in_words(ground: Ground, estimate: Estimate, validations: int) -> None:
    """Estimate validations that score what is given, and answers that are written once training is over."""
    assert ground.speech is not None  # noqa: S101 - gauged before the first of them
    asked = {split: _ask(ground, split) for split in ("validation", "test")}
    glances = {split: estimate_answers(ground.speech, one[0])[0] for split, one in asked.items()}
    written = {split: estimate_answers(ground.speech, one[1])[0] for split, one in asked.items()}
    estimate.validation_seconds = Figure(value=validations * glances["validation"] + written["validation"])
    estimate.test_seconds = Figure(value=written["test"])
    estimate.answer_seconds = Figure(value=estimate_one(ground.speech, asked["test"][1]))
    one = shape_rows(ground.encoded["test"], _middle(ground.encoded["test"]))
    estimate.answer_operations = Figure(value=ground.laws.answering(one))
    estimate.notes.append("its answers are taken to be as long as the given ones")


def _ask(ground: Ground, split: str) -> tuple[Asked, Asked]:
    """Return what a glance at a split asks, and what predicting it does."""
    trial, encoded = ground.trial, ground.encoded[split]
    assert isinstance(encoded, Encoded)  # noqa: S101 - what is written is text
    task, examples = cast(WrittenTask, trial.material.task), trial.material.data.examples[split]
    asking, attachment = task.asking, trial.assembly.attachment
    words = encode_words(asking, trial.assembly.backbone.encoder, examples[0]) if asking.by_labels else []
    golds = count_golds(encoded)
    likely = asking.by_labels and asking.scoring == "likelihood"
    glance = Asked(
        prompts=encoded.prompts(),
        size=trial.evaluation_batch,
        words=[len(word) for word in words],
        golds=None if asking.labels else golds,
        front=attachment.rows_in_front,
        shares=not trial.assembly.backbone.anatomy.local,
    )
    written = None if likely or golds is None else np.minimum(golds, asking.room)
    return glance, replace(glance, written=written)


def count_golds(encoded: Encoded) -> np.ndarray | None:
    """Return the tokens of each given answer; None where rows hold none."""
    return None if encoded.starts is None else encoded.lengths - encoded.starts


def _feature_width(assembly: Assembly, pooling: str) -> int:
    """Return the width of what a head reads of a row."""
    backbone = assembly.backbone
    if isinstance(backbone, Pair):
        return sum(backbone.parts[role].feature_width(backbone.pooling_of(role, pooling)) for role in ROLES)
    return backbone.feature_width(pooling)


def _middle(encoded: EncodedRows) -> np.ndarray:
    return np.argsort(encoded.lengths, kind="stable")[[len(encoded) // 2]]
