"""Counts per class, and every figure that follows from them.

Labels are indices 0..K-1. A prediction of -1 is an answer that could not be read: it is wrong, and it is predicted
for no class. A label that is neither gold nor predicted anywhere has precision, recall and F1 of 0 and still counts
in the macro mean over all K labels; a label that is never predicted has precision 0, one without gold rows recall 0.
That is scikit-learn's `zero_division=0` with `labels` given in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """What is needed of a confusion matrix for every score: its diagonal and its margins, [K] each."""

    hits: Indices
    """Rows of a class that were predicted as it."""
    support: Indices
    """Rows of a class."""
    predicted: Indices
    """Rows predicted as a class."""

    @property
    def rows(self) -> int:
        """Rows counted, unreadable answers included."""
        return int(self.support.sum())

    @property
    def unparsed(self) -> int:
        """Rows whose answer could not be read."""
        return self.rows - int(self.predicted.sum())

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Counts of two batches together."""
        return ClassCounts(self.hits + other.hits, self.support + other.support, self.predicted + other.predicted)


def as_indices(values: ArrayLike) -> Indices:
    """Return label indices as one flat array of int64."""
    return np.asarray(values, dtype=np.int64).reshape(-1)


def count_classes(gold: ArrayLike, predicted: ArrayLike, labels: int) -> ClassCounts:
    """Count hits, support and predictions of each class; memory is in proportion to the labels, not their square."""
    gold, predicted = as_indices(gold), as_indices(predicted)
    return ClassCounts(
        hits=np.bincount(gold[gold == predicted], minlength=labels),
        support=np.bincount(gold, minlength=labels),
        predicted=np.bincount(predicted[predicted >= 0], minlength=labels),
    )


def count_confusion(gold: ArrayLike, predicted: ArrayLike, labels: int) -> Indices:
    """Count [K, K]: rows are gold, columns predicted labels; unreadable answers stand in no column."""
    gold, predicted = as_indices(gold), as_indices(predicted)
    read = predicted >= 0
    return np.bincount(gold[read] * labels + predicted[read], minlength=labels * labels).reshape(labels, labels)


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Divide element by element, 0 where the denominator is 0."""
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def precision(counts: ClassCounts) -> Floats:
    """Share of the rows predicted as a class that are of it, [K]."""
    return divide(counts.hits, counts.predicted)


def recall(counts: ClassCounts) -> Floats:
    """Share of the rows of a class that were predicted as it, [K]."""
    return divide(counts.hits, counts.support)


def f1(counts: ClassCounts) -> Floats:
    """Harmonic mean of precision and recall, [K]."""
    return divide(2 * counts.hits, counts.support + counts.predicted)


def accuracy(counts: ClassCounts) -> float | None:
    """Share of rows predicted right; None without rows."""
    return int(counts.hits.sum()) / counts.rows if counts.rows else None


def macro_f1(counts: ClassCounts) -> float | None:
    """Mean F1 over all labels, each with the same weight; None without rows."""
    return float(f1(counts).mean()) if counts.rows else None


def weighted_f1(counts: ClassCounts) -> float | None:
    """Mean F1 over all labels, weighted by their rows; None without rows."""
    return float(f1(counts) @ counts.support) / counts.rows if counts.rows else None
