"""Estimating how long a language model takes to answer rows: reading prompts, scoring what is given, writing.

Reading is operations, counted on a few short prompts, over a measured rate. Writing is timed token by token, behind one
prompt and behind several, and extended along a line: a token costs a part for itself and a part for each row.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from whichtune.engine.latencies import Writer
from whichtune.engine.portions import group_rows
from whichtune.engine.shapes import Law, Shape, fit_law
from whichtune.engine.speaking import LEAST_SHARED_TOKENS, Opening, Speaker, count_shared, read_prompts
from whichtune.measure.device import synchroniser
from whichtune.measure.flops import count_flops
from whichtune.measure.memory import choose_meter, read_rss
from whichtune.measure.modes import modes
from whichtune.models.batch import Encoded
from whichtune.models.causal import score_tokens

COUNTED = ((2, 8), (2, 24), (4, 16), (2, 16))
"""Rows and tokens of the counted prompts."""
TIMED = (8, 64)
"""Rows and tokens of the timed prompts, at most."""
TIMED_READS = 3
TIMED_TOKENS = 4


@dataclass(frozen=True)
class SpeechRates:
    """How fast a language model reads and writes on this machine."""

    law: Law
    """Operations of reading prompts."""
    score_operations: float
    """Of scoring the whole vocabulary at one place."""
    reading: float
    """Operations a second of reading several prompts."""
    alone: float
    """The same of one prompt."""
    token_seconds: tuple[float, float]
    """Of one new token: behind one row, and for each row more."""
    base_bytes: float | None
    """Memory in use before anything was read; None where memory is not metered."""
    cell_bytes: float | None
    """What reading adds to it, a token, caches included."""

    def read(self, rows: int, width: int, behind: int = 0) -> float:
        """Return the operations of reading so many tokens a row behind a head that was read before."""
        linear, square, own, once, _ = self.law.weights
        return max(0.0, linear * rows * width + square * rows * width * (width + behind) + own * rows + once)

    def write(self, rows: int) -> float:
        """Return the seconds of one new token behind so many rows."""
        first, more = self.token_seconds
        return first + more * (rows - 1)


@dataclass(frozen=True)
class Asked:
    """What is asked of a split's prompts, besides reading them."""

    prompts: Encoded
    size: int
    """Rows asked together."""
    written: np.ndarray | None = None
    """[rows]: tokens that each answer is taken to have; None where nothing is written."""
    words: Sequence[int] = ()
    """Tokens of each label's word, where labels are scored."""
    golds: np.ndarray | None = None
    """[rows]: tokens of the given answers, where these are scored."""
    front: int = 0
    """Virtual rows in front of every prompt."""
    shares: bool = True
    """Whether what all prompts begin with is read once."""


def gauge_speech(speaker: Speaker, prompts: Encoded) -> SpeechRates:
    """Count and time reading and writing on a few beginnings of real prompts."""
    wait = synchroniser(speaker.device) or (lambda: None)
    with modes((), speaker.backbone.trunk), torch.no_grad():
        several, single = _cut(prompts, *TIMED), _cut(prompts, 1, TIMED[1])
        base, cell = _weigh_read(speaker, several)  # first: memory that was used before is used again unseen
        counted = [_cut(prompts, rows, width) for rows, width in COUNTED]
        operations = [count_flops(lambda one=one: _read(speaker, one)).forward for one in counted]
        law = fit_law([_shape(one) for one in counted], operations)
        last = read_prompts(speaker, counted[0], [0], Opening(0)).last
        score = count_flops(lambda: score_tokens(speaker.backbone, last)).forward
        rates = [law(_shape(one)) / _time(lambda one=one: _read(speaker, one), wait) for one in (several, single)]
        one, many = (_time_token(speaker, some, wait) for some in (single, several))
    more = max(0.0, many - one) / max(1, len(several) - 1)
    return SpeechRates(law, score, rates[0], rates[1], (one, more), base, cell)


def estimate_answers(rates: SpeechRates, asked: Asked) -> tuple[float, float]:
    """Return the seconds of asking about all rows of a split, and the operations of what is read for it."""
    lengths = asked.prompts.lengths
    shared = count_shared(asked.prompts) if asked.shares and not asked.front else 0
    shared = 0 if shared < LEAST_SHARED_TOKENS else shared
    operations = rates.read(1, shared) if shared else 0.0
    writing = 0.0
    for rows in group_rows(lengths, asked.size):
        count, width = len(rows), int(lengths[rows].max()) - shared + asked.front
        operations += rates.read(count, width, shared)
        longest = max(asked.words, default=0)
        if longest > 1:
            operations += count * len(asked.words) * (longest - 1) * (rates.law.weights[0] + rates.score_operations)
        if asked.golds is not None:
            own = int(asked.golds[rows].max())
            operations += count * own * (rates.law.weights[0] + rates.score_operations)
        if asked.written is not None:
            writing += float(asked.written[rows].max()) * rates.write(count)
    return operations / rates.reading + writing, operations


def estimate_one(rates: SpeechRates, asked: Asked) -> float:
    """Return the seconds of one answer by itself, to a prompt of middling length."""
    width = int(np.median(asked.prompts.lengths)) + asked.front
    written = 0.0 if asked.written is None else float(np.median(asked.written))
    return rates.read(1, width) / rates.alone + written * rates.write(1)


def _read(speaker: Speaker, prompts: Encoded) -> object:
    return read_prompts(speaker, prompts, range(len(prompts)), Opening(0))


def _shape(prompts: Encoded) -> Shape:
    return Shape(len(prompts), int(prompts.lengths.max()), len(prompts))


def _cut(prompts: Encoded, rows: int, width: int) -> Encoded:
    """Return the beginnings of some prompts of middling length; a row is read again where there are too few."""
    order = np.argsort(prompts.lengths, kind="stable")
    start = max(0, (len(order) - rows) // 2)
    chosen = np.resize(order[start : start + rows], rows)
    parts = [prompts.row(int(row))[:width] for row in chosen]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(part) for part in parts])])
    return Encoded(np.concatenate(parts), offsets, np.full(rows, -1))


def _time(act: Callable[[], object], wait: Callable[[], object]) -> float:
    seconds: list[float] = []
    for _ in range(TIMED_READS):
        start = perf_counter()
        act()
        wait()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def _time_token(speaker: Speaker, prompts: Encoded, wait: Callable[[], object]) -> float:
    writer = Writer(speaker, read_prompts(speaker, prompts, range(len(prompts)), Opening(0)))
    writer.write()
    seconds: list[float] = []
    for _ in range(TIMED_TOKENS):
        start = perf_counter()
        writer.write()
        wait()
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def _weigh_read(speaker: Speaker, prompts: Encoded) -> tuple[float | None, float | None]:
    """Return the memory in use, and what reading adds to it, and writing on, a token."""
    meter, _ = choose_meter(speaker.device)
    if meter is None:
        return None, None
    meter.reset()
    before = read_rss().value if speaker.device.type == "cpu" else meter.read()
    writer = Writer(speaker, read_prompts(speaker, prompts, range(len(prompts)), Opening(0)))
    writer.write()  # what was read is copied once to append to it
    after = meter.read()
    if before is None or after is None:
        return None, None
    return before, max(0, after - before) / _shape(prompts).cells
