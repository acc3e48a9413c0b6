"""How long a model takes to answer: unmerged, merged, and the plain backbone, for one row and for a batch.

A model with a head answers in one forward pass. A language model runs the prompt (prefill) and then writes token by
token (decode); the two are timed apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch

from whichtune.engine.assembly import Assembly
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.portions import group_rows
from whichtune.engine.predict import by_length
from whichtune.engine.speaking import Opening, Read, Speaker, read_prompts
from whichtune.engine.trial import TunerTrial
from whichtune.measure.device import synchroniser
from whichtune.measure.latency import measure_latency
from whichtune.measure.modes import modes
from whichtune.models.batch import Batched, Encoded, EncodedRows
from whichtune.models.causal import score_tokens
from whichtune.models.generate import run_token
from whichtune.records.trial import LatencyFigures
from whichtune.spec.training import MeasureSpec

LEAST_REPEATS = 3
"""Repeats of a whole batch at least; it takes a fifth of those of one row."""
MOST_WRITTEN = 8
"""Rows of the batch that a language model is timed on; a forward pass of a model with a head takes a whole one."""


@dataclass(frozen=True)
class Timing:
    """What is timed, and how its figures are called."""

    rows: int
    merged: bool
    plain: bool
    measure: MeasureSpec
    device: torch.device

    def take(self, forward: Callable[[], object], phase: str, tokens: int | None) -> LatencyFigures:
        """Time a call."""
        repeats = (
            self.measure.latency_repeats if self.rows == 1 else max(LEAST_REPEATS, self.measure.latency_repeats // 5)
        )
        took = measure_latency(
            forward,
            repeats=repeats,
            warm_up=2 if self.rows == 1 else 1,
            synchronise=synchroniser(self.device) or _nothing,
        )
        return LatencyFigures.model_validate(
            {
                "batch": self.rows,
                "merged": self.merged,
                "plain": self.plain,
                "phase": phase,
                "tokens": tokens,
                "median_seconds": took.median_seconds,
                "p95_seconds": took.p95_seconds,
            }
        )


def measure_latencies(trial: TunerTrial, measure: MeasureSpec) -> Iterator[LatencyFigures]:
    """Time a tuner's model unmerged and merged and, where the method can be merged, the backbone without it.

    The method is taken off for that, so nothing can be asked of the trial afterwards.
    """
    attachment = trial.assembly.attachment
    for merge in (False, True) if attachment.merge is not None else (False,):
        with trial.assembly.predicting(merge=merge):
            yield from _time_ways(trial, measure, merged=merge, plain=False)
    if attachment.merge is None:
        return
    attachment.detach()
    with modes((), trial.assembly.backbone.trunk), torch.no_grad():
        yield from _time_ways(trial, measure, merged=False, plain=True)


def time_speaking(
    speaker: Speaker, prompts: Encoded, batch: int, measure: MeasureSpec, *, merged: bool = False, plain: bool = False
) -> Iterator[LatencyFigures]:
    """Time the running of prompts, and of one new token behind them, again and again."""
    for rows in choose_rows(prompts, min(batch, MOST_WRITTEN)):
        timing = Timing(len(rows), merged, plain, measure, speaker.device)
        width = int(prompts.lengths[rows].max())
        yield timing.take(lambda rows=rows: read_prompts(speaker, prompts, rows, Opening(0)), "prefill", width)
        writer = Writer(speaker, read_prompts(speaker, prompts, rows, Opening(0)))
        yield timing.take(writer.write, "decode", 1)


def time_forward(
    assembly: Assembly, encoded: EncodedRows, size: int, arithmetic: Arithmetic, way: Timing
) -> Iterator[LatencyFigures]:
    """Time one forward pass over one row, and over a batch; the rows of `way` are filled in."""
    for batch in _batches(encoded, size):
        forward = partial(assembly.run_plain if way.plain else assembly, batch.to(assembly.device))
        with arithmetic.forward():
            yield replace(way, rows=len(batch.rows)).take(forward, "forward", None)


class Writer:
    """Writes one best token behind all sequences at each call; where the context is full it begins anew."""

    def __init__(self, speaker: Speaker, read: Read) -> None:
        self.speaker = speaker
        self.begun = Read(read.last, read.state.repeated())
        self.last, self.state = read.last, read.state
        most = speaker.backbone.anatomy.positions
        self.room = None if most is None else most - int(read.state.lengths.max())
        self.written = 0

    def write(self) -> None:
        """Score, choose, and run the new token."""
        if self.written == self.room:
            self.last, self.state, self.written = self.begun.last, self.begun.state.repeated(), 0
        with self.speaker.arithmetic.forward():
            chosen = score_tokens(self.speaker.backbone, self.last).argmax(dim=1)
            self.last, self.state = run_token(self.speaker.backbone, chosen, self.state)
        self.written += 1


def choose_rows(encoded: Encoded, size: int) -> list[np.ndarray]:
    """Return one row of middling length, and the rows of the middle batch of an evaluation."""
    middle = encoded.lengths.argsort(kind="stable")[len(encoded) // 2]
    groups = list(group_rows(encoded.lengths, size))
    batch = groups[len(groups) // 2]
    return [np.array([middle])] + ([batch] if len(batch) > 1 else [])


def _time_ways(trial: TunerTrial, measure: MeasureSpec, *, merged: bool, plain: bool) -> Iterator[LatencyFigures]:
    arithmetic = Arithmetic(trial.training.precision, trial.assembly.device)
    encoded = trial.material.encoded["validation"]
    if trial.material.task.head().tokens:
        inputs = {} if plain else {"inputs": trial.assembly.attachment.inputs}
        speaker = Speaker(trial.assembly.backbone, arithmetic, **inputs)
        assert isinstance(encoded, Encoded)  # noqa: S101 - what is written is text
        prompts = encoded.prompts()
        yield from time_speaking(speaker, prompts, trial.evaluation_batch, measure, merged=merged, plain=plain)
        return
    way = Timing(0, merged, plain, measure, trial.assembly.device)
    yield from time_forward(trial.assembly, encoded, trial.evaluation_batch, arithmetic, way)


def _batches(encoded: EncodedRows, size: int) -> Iterator[Batched]:
    """One row of middling length, and the middle batch of an evaluation."""
    middle = int(encoded.lengths.argsort(kind="stable")[len(encoded) // 2])
    yield encoded.collate([middle])
    if size > 1 and len(encoded) > 1:
        batches = -(-len(encoded) // size)
        yield next(islice(by_length(encoded, size), batches // 2, None))


def _nothing() -> None:
    """Wait for nothing."""
