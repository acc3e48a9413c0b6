"""Sizes of batches, and what grows with them: figures counted on a few short batches hold for all by this law.

Operations and the bytes kept for the backward pass of any model here are a polynomial of a batch's sizes: matrices cost
rows x width, attention rows x width^2, a head the rows, what is made of weights alone (a low-rank product, positions
that are projected once) a constant, and a language model's output head the tokens that are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from whichtune.engine.batches import draw_rows, plan_steps
from whichtune.models.batch import Encoded, EncodedRows
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

PLACES = (0.0, 0.3, 0.6)
"""Where in the order of lengths the counted batches lie: none is long, so that counting stays cheap."""


@dataclass(frozen=True)
class Shape:
    """Sizes of one padded batch."""

    rows: int
    width: int
    """Of its widest row, padding included: the trunk runs over padding too."""
    scored: int
    """Rows or tokens that the head scores."""

    @property
    def terms(self) -> tuple[int, ...]:
        """What the law weighs."""
        return self.rows * self.width, self.rows * self.width**2, self.rows, 1, self.scored

    @property
    def cells(self) -> int:
        """Hidden rows that the trunk makes, padding included."""
        return self.rows * self.width


@dataclass(frozen=True)
class Law:
    """A figure of a batch as a polynomial of its sizes."""

    weights: tuple[float, ...]

    def __call__(self, shape: Shape) -> float:
        """Return the figure of a batch; nothing is below 0."""
        return max(0.0, float(np.dot(self.weights, shape.terms)))

    def total(self, shapes: Iterable[Shape]) -> float:
        """Return the figure of many batches together."""
        return sum(map(self, shapes))


def fit_law(shapes: Sequence[Shape], figures: Sequence[float]) -> Law:
    """Find the law of figures counted on some batches; it gives them back.

    Where the batches leave something open (all rows equally long) the smallest weights are taken: what is open there
    makes no difference to batches of that data.
    """
    terms = np.array([shape.terms for shape in shapes], np.float64)
    scales = np.maximum(terms.max(axis=0), 1.0)
    weights, *_ = np.linalg.lstsq(terms / scales, np.array(figures, np.float64), rcond=1e-9)
    return Law(tuple((weights / scales).tolist()))


def shape_rows(encoded: EncodedRows, rows: Sequence[int] | np.ndarray) -> Shape:
    """Return the sizes that some rows have as one batch."""
    chosen = np.asarray(rows, np.int64)
    return Shape(len(chosen), int(encoded.lengths[chosen].max()), int(_scored(encoded)[chosen].sum()))


def list_steps(encoded: EncodedRows, training: TrainingSpec, streams: Streams) -> tuple[list[list[Shape]], float]:
    """Return the batches of each step of a first epoch, or of its beginning, and how often a training does the like."""
    plan = plan_steps(len(encoded), training)
    order = draw_rows(encoded, training, streams, 0)
    size = training.batch_size
    batches = [shape_rows(encoded, order[start : start + size]) for start in range(0, len(order), size)]
    steps = [batches[start : start + training.accumulate] for start in range(0, len(batches), training.accumulate)]
    taken = steps[: plan.total]
    return taken, plan.total / len(taken)


def list_evaluation(encoded: EncodedRows, size: int) -> list[Shape]:
    """Return the batches in which a split is predicted: rows of like length together."""
    order = np.argsort(-encoded.lengths, kind="stable")
    return [shape_rows(encoded, order[start : start + size]) for start in range(0, len(order), size)]


def choose_samples(encoded: EncodedRows) -> Iterator[np.ndarray]:
    """Yield the rows of a few short batches that tell all terms of the law apart, as far as the data can."""
    order = np.argsort(encoded.lengths, kind="stable")
    last = len(order) - 1
    for share in PLACES:
        place = max(1, round(share * last))
        yield order[max(0, place - 1) : place + 1]
    yield order[: min(4, len(order))]
    scored = _scored(encoded)
    if len(set(scored.tolist())) > 1:  # answers of unlike length
        short = order[: max(2, len(order) // 2)]
        yield short[np.argsort(scored[short], kind="stable")[[0, -1]]]
        yield short[np.argsort(scored[short], kind="stable")[-1:]]


def _scored(encoded: EncodedRows) -> np.ndarray:
    """Return how many scores the head gives for each row: one, or one a token of its answer."""
    if isinstance(encoded, Encoded) and encoded.starts is not None:
        return encoded.lengths - encoded.starts
    return np.ones(len(encoded), np.int64)
