"""Scores of single items, higher being better: what an interval is computed from.

A metric that is a mean over items has them as they are. One that is not (macro and weighted F1) has jackknife
pseudo-values `n T - (n-1) T(-i)` (Efron & Stein 1981), exact here, not sampled: leaving out one item moves the counts
of at most two classes by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichtune.records.predictions import Predictions
from whichtune.stats import counting
from whichtune.stats.counting import ClassCounts, Floats, Indices, count_classes, divide, f1
from whichtune.stats.items import index_answers, match_answers, match_likelihoods, match_top, word_counts
from whichtune.stats.metrics import find_metric
from whichtune.stats.rouge import score_rouge
from whichtune.stats.sums import mean_loss


def psi(predictions: Predictions, labels: Sequence[str], metric: str) -> tuple[float, Floats] | None:
    """Return the metric of one trial and its per-item scores [n], both turned so that higher is better.

    None where the metric has no scores of single items (calibration error), where a loss is not finite or where a row
    has no likelihoods or ranks.
    """
    if not find_metric(metric).per_item or not predictions.ids:
        return None
    if metric in {"macro_f1", "weighted_f1"}:
        return f1_pseudo_values(*index_answers(predictions, labels), len(labels), weighted=metric == "weighted_f1")
    if metric == "loss":
        mean = mean_loss(predictions.loss)
        return None if mean is None else (-mean, -np.asarray(predictions.loss, np.float64))
    values = _score_items(predictions, labels, metric)
    return None if values is None else (float(values.mean()), values)


def _score_items(predictions: Predictions, labels: Sequence[str], metric: str) -> Floats | None:
    """Return the scores of items of a metric that is their plain mean and of which more is not worse."""
    if metric == "accuracy":
        gold, parsed = index_answers(predictions, labels)
        return (gold == parsed).astype(np.float64)
    if metric == "top5_accuracy":
        return match_top(predictions)
    if metric == "likelihood_accuracy":
        return match_likelihoods(predictions, labels)
    if metric == "exact_match":
        return match_answers(predictions)
    if metric == "answer_words":
        return word_counts(predictions)
    return score_rouge(predictions.gold, predictions.parsed, (metric,))[metric]


def f1_pseudo_values(gold: Indices, parsed: Indices, labels: int, *, weighted: bool) -> tuple[float, Floats]:
    """Return macro (or weighted) F1 over all labels and the exact pseudo-value of each item, [n]."""
    counts = count_classes(gold, parsed, labels)
    total = (counting.weighted_f1 if weighted else counting.macro_f1)(counts)
    assert total is not None, "the caller has rows"  # noqa: S101
    without = (_weighted_without if weighted else _macro_without)(counts, gold, parsed)
    rows = counts.rows
    return total, rows * total - (rows - 1) * without


def _macro_without(counts: ClassCounts, gold: Indices, parsed: Indices) -> Floats:
    """Macro F1 without each item: the F1 of its gold class and, where it is wrong, of its predicted class change."""
    own, hit_less, miss_less = f1(counts), *_reduced(counts)
    right, wrong = gold == parsed, (gold != parsed) & (parsed >= 0)
    change = np.where(right, hit_less[gold], miss_less[gold]) - own[gold]
    change[wrong] += (miss_less - own)[parsed[wrong]]
    return own.mean() + change / len(own)


def _weighted_without(counts: ClassCounts, gold: Indices, parsed: Indices) -> Floats:
    """Weighted F1 without each item: as macro F1, and the gold class loses a row of weight."""
    own, hit_less, miss_less = f1(counts), *_reduced(counts)
    right, wrong = gold == parsed, (gold != parsed) & (parsed >= 0)
    reduced = np.where(right, hit_less[gold], miss_less[gold])
    support = counts.support.astype(np.float64)
    total = own @ support - (support * own)[gold] + (support[gold] - 1) * reduced
    total[wrong] += (support * (miss_less - own))[parsed[wrong]]
    return divide(total, counts.rows - 1)


def _reduced(counts: ClassCounts) -> tuple[Floats, Floats]:
    """F1 of each class with one hit fewer, and with one miss fewer (a row of it, or a prediction of it), [K] each."""
    both = counts.support + counts.predicted
    hit_less = divide(2 * np.maximum(counts.hits - 1, 0), np.maximum(both - 2, 0))
    return hit_less, divide(2 * counts.hits, np.maximum(both - 1, 0))
