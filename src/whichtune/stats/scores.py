"""All scores of one split: batch by batch while predicting, or at once from predictions on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import numpy as np
from numpy.typing import ArrayLike

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions
from whichtune.records.trial import ClassFigures, MetricValue, SplitScores
from whichtune.stats import counting
from whichtune.stats.counting import ClassCounts, Indices, as_indices, count_classes, count_confusion
from whichtune.stats.metrics import CLASSIFICATION, Metric, find_metric
from whichtune.stats.sums import CalibrationSums, add_in_order, mean_or_none

CONFUSION_LABELS = 200
"""Up to so many labels the confusion matrix is kept."""


class StreamingClassification:
    """Adds up scores batch by batch; it holds sums per class and bin, never rows.

    Any batching of the same rows in the same order gives the same bits, so a score does not depend on the
    evaluation batch, and none of them is a mean of batch means.
    """

    def __init__(self, labels: int) -> None:
        self._labels = labels
        blank = np.zeros(labels, np.int64)
        self._counts = ClassCounts(blank, blank, blank)
        self._confusion = np.zeros((labels, labels), np.int64) if labels <= CONFUSION_LABELS else None
        self._calibration = CalibrationSums.empty()
        self._loss = np.zeros(1)

    def update(self, gold: ArrayLike, predicted: ArrayLike, confidence: ArrayLike, loss: ArrayLike) -> None:
        """Add a batch: label indices (-1 = unreadable answer), confidences 0..1, losses in nats, [B] each."""
        gold, predicted = as_indices(gold), as_indices(predicted)
        self._counts = self._counts + count_classes(gold, predicted, self._labels)
        if self._confusion is not None:
            self._confusion = self._confusion + count_confusion(gold, predicted, self._labels)
        self._calibration = self._calibration.add(gold == predicted, confidence)
        self._loss = add_in_order(self._loss, np.zeros(len(gold), np.int64), loss)

    def scores(self, labels: Sequence[str], first_metric: str = "accuracy") -> SplitScores:
        """Return every score of the rows seen so far, the first metric first."""
        counts = self._counts
        values = {
            "accuracy": counting.accuracy(counts),
            "macro_f1": counting.macro_f1(counts),
            "weighted_f1": counting.weighted_f1(counts),
            "loss": mean_or_none(float(self._loss[0]), counts.rows),
            "calibration_error": self._calibration.error,
        }
        return SplitScores(
            rows=counts.rows,
            metrics=[_value(metric, values) for metric in order_metrics(first_metric)],
            classes=tabulate_classes(counts, labels),
            confusion=None if self._confusion is None else self._confusion.tolist(),
            unparsed_share=counts.unparsed / counts.rows if counts.rows else 0.0,
            predicted_labels=int(np.count_nonzero(counts.predicted)),
        )


def score_predictions(predictions: Predictions, labels: Sequence[str], first_metric: str = "accuracy") -> SplitScores:
    """Compute every score of one split from its predictions, the first metric first."""
    total = StreamingClassification(len(labels))
    gold, parsed = index_answers(predictions, labels)
    total.update(gold, parsed, predictions.confidence, predictions.loss)
    return total.scores(labels, first_metric)


def index_answers(predictions: Predictions, labels: Sequence[str]) -> tuple[Indices, Indices]:
    """Return gold and parsed answers as label indices, [n] each, -1 for an answer that could not be read."""
    index: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
    gold = np.array([_look_up(label, index, "gold") for label in predictions.gold], np.int64)
    index[None] = -1
    return gold, np.array([_look_up(label, index, "parsed") for label in predictions.parsed], np.int64)


def order_metrics(first_metric: str) -> list[Metric]:
    """Return the metrics of classification, the first metric first."""
    first = find_metric(first_metric)
    return [first, *(metric for metric in CLASSIFICATION if metric is not first)]


def tabulate_classes(counts: ClassCounts, labels: Sequence[str]) -> list[ClassFigures]:
    """Return precision, recall, F1, support and predictions of each class, in label order."""
    columns = (counting.precision(counts), counting.recall(counts), counting.f1(counts), counts.support)
    rows = zip(labels, *(column.tolist() for column in (*columns, counts.predicted)), strict=True)
    return list(starmap(_class_figures, rows))


def _class_figures(label: str, precision: float, recall: float, f1: float, *sizes: int) -> ClassFigures:
    support, predicted = sizes
    return ClassFigures(label=label, precision=precision, recall=recall, f1=f1, support=support, predicted=predicted)


def _value(metric: Metric, values: Mapping[str, float | None]) -> MetricValue:
    return MetricValue(name=metric.name, value=values[metric.name], direction=metric.direction, unit=metric.unit)


def _look_up(label: str | None, index: Mapping[str | None, int], column: str) -> int:
    if label not in index:
        shown = ", ".join(str(each) for each in list(index)[:20] if each is not None)
        raise RecordError(f"predictions: {column} answer", value=label, allowed=shown)
    return index[label]
