"""All scores of one split: batch by batch while predicting, or at once from predictions on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import starmap

import numpy as np
from numpy.typing import ArrayLike

from whichtune.records.predictions import Predictions
from whichtune.records.trial import ClassFigures, MetricValue, SplitScores
from whichtune.stats import counting
from whichtune.stats.counting import ClassCounts, Floats, as_indices, count_classes, count_confusion
from whichtune.stats.items import index_answers, match_answers, match_likelihoods, match_top, word_counts
from whichtune.stats.metrics import (
    ANSWERING,
    INSTRUCTION,
    RANKED,
    SUMMARIZATION,
    TOP5_ACCURACY,
    TOP_LABELS,
    Metric,
    order_metrics,
)
from whichtune.stats.rouge import score_rouge
from whichtune.stats.sums import CalibrationSums, add_in_order, mean_loss, mean_or_none

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
    """Compute every score of one split from its predictions, the first metric first.

    The top-5 accuracy is among them where there are more labels than that and their ranks are known, and where it is
    asked for.
    """
    total = StreamingClassification(len(labels))
    gold, parsed = index_answers(predictions, labels)
    total.update(gold, parsed, predictions.confidence, predictions.loss)
    top = TOP5_ACCURACY.name
    matched = match_top(predictions)
    if first_metric != top and (matched is None or len(labels) <= TOP_LABELS):
        return total.scores(labels, first_metric)
    scores = total.scores(labels)
    values = {value.name: value.value for value in scores.metrics} | {top: None if matched is None else _mean(matched)}
    scores.metrics = [_value(metric, values) for metric in order_metrics(first_metric, RANKED)]
    return scores


def score_instruction(predictions: Predictions, labels: Sequence[str], first_metric: str = "accuracy") -> SplitScores:
    """Compute every score of classification by instruction; without likelihoods there is no accuracy by them."""
    scores = score_predictions(replace(predictions, gold_rank=None), labels)
    values = {value.name: value.value for value in scores.metrics}
    matched = match_likelihoods(predictions, labels)
    values["likelihood_accuracy"] = None if matched is None else _mean(matched)
    scores.metrics = [_value(metric, values) for metric in order_metrics(first_metric, INSTRUCTION)]
    return scores


def score_summaries(predictions: Predictions, first_metric: str = "rougeL") -> SplitScores:
    """Compute every score of summaries, the first metric first; all of them are means over rows."""
    values = {name: _mean(found) for name, found in score_rouge(predictions.gold, predictions.parsed).items()}
    values |= {"loss": mean_loss(predictions.loss), "answer_words": _mean(word_counts(predictions))}
    return _score_texts(predictions, [_value(metric, values) for metric in order_metrics(first_metric, SUMMARIZATION)])


def score_answers(predictions: Predictions, first_metric: str = "exact_match") -> SplitScores:
    """Compute every score of answers in words, the first metric first; both sides are in their parser's form."""
    values = {"exact_match": _mean(match_answers(predictions)), "loss": mean_loss(predictions.loss)}
    return _score_texts(predictions, [_value(metric, values) for metric in order_metrics(first_metric, ANSWERING)])


def _score_texts(predictions: Predictions, metrics: list[MetricValue]) -> SplitScores:
    """Return the scores of a split whose answers are no labels: there are no classes."""
    read = [answer for answer in predictions.parsed if answer is not None]
    rows = len(predictions.ids)
    return SplitScores(
        rows=rows,
        metrics=metrics,
        unparsed_share=(rows - len(read)) / rows if rows else 0.0,
        predicted_labels=len(set(read)),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


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
