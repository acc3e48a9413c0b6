"""In which order rows are seen, and how they are grouped into steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whichtune.engine.sampling import balance, stratify
from whichtune.models.batch import Batched, EncodedRows
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

WINDOW_BATCHES = 50
"""Batches in one window of `order: by-length`."""


@dataclass(frozen=True)
class StepPlan:
    """How many optimizer steps there are."""

    per_epoch: int
    total: int


def plan_steps(rows: int, training: TrainingSpec) -> StepPlan:
    """Count the optimizer steps of a trial; the last step of an epoch may hold fewer rows."""
    batches = -(-rows // training.batch_size)
    per_epoch = -(-batches // training.accumulate)
    total = max(1, round(per_epoch * training.epochs))
    return StepPlan(per_epoch, min(total, training.max_steps or total))


def order_rows(lengths: np.ndarray, training: TrainingSpec, streams: Streams, epoch: int) -> np.ndarray:
    """Return the order of one epoch's rows, from the order stream and the epoch alone."""
    generator = np.random.default_rng(streams.derive("order", epoch))
    order = generator.permutation(len(lengths))
    if training.order == "random":
        return order
    return _grouped(order, lengths, training.batch_size, generator)


def draw_rows(encoded: EncodedRows, training: TrainingSpec, streams: Streams, epoch: int) -> np.ndarray:
    """Return one epoch's rows in order, as `sampling` draws them."""
    if training.sampling == "shuffled":
        return order_rows(encoded.lengths, training, streams, epoch)
    draw = stratify if training.sampling == "stratified" else balance
    return draw(encoded.targets, training.batch_size, streams, epoch)


def _grouped(order: np.ndarray, lengths: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Sort random windows by length and shuffle their batches; a short last batch stays last."""
    window = size * WINDOW_BATCHES
    parts = [order[start : start + window] for start in range(0, len(order), window)]
    sorted_rows = np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in parts])
    full = len(order) // size
    batches = sorted_rows[: full * size].reshape(full, size)
    return np.concatenate([batches[generator.permutation(full)].ravel(), sorted_rows[full * size :]])


def step_batches(encoded: EncodedRows, training: TrainingSpec, streams: Streams) -> Iterator[list[Batched]]:
    """Yield, without end, the batches of each optimizer step."""
    epoch = 0
    while True:
        order = draw_rows(encoded, training, streams, epoch)
        stops = range(0, len(order), training.batch_size)
        batches = [order[start : start + training.batch_size] for start in stops]
        for start in range(0, len(batches), training.accumulate):
            yield [encoded.collate(rows) for rows in batches[start : start + training.accumulate]]
        epoch += 1
