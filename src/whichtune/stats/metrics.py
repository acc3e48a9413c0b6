"""The table of metrics: name, direction and unit of each, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from whichtune.errors import RecordError, did_you_mean

Direction = Literal["higher", "lower", "neither"]
Unit = Literal["share", "nats", "points", "count"]


@dataclass(frozen=True)
class Metric:
    """What a metric is called, which way is better and what it counts."""

    name: str
    title: str
    """Name as a person reads it."""
    direction: Direction
    """Which way is better; `neither` describes answers and is never chosen by."""
    unit: Unit
    """What the value counts; a share is 0..1 here and shown in hundredths."""
    per_item: bool
    """Whether every example has a score of its own (or an exact jackknife pseudo-value), so that an interval exists."""
    binary: bool = False
    """Scores of single examples are 0 or 1, so that the metric is a proportion."""


LOSS = Metric("loss", "loss", "lower", "nats", per_item=True)
CLASSIFICATION = (
    Metric("accuracy", "accuracy", "higher", "share", per_item=True, binary=True),
    Metric("macro_f1", "macro F1", "higher", "share", per_item=True),
    Metric("weighted_f1", "weighted F1", "higher", "share", per_item=True),
    LOSS,
    Metric("calibration_error", "calibration error", "lower", "share", per_item=False),
)
"""Metrics of classification, in the order in which they are shown."""

TOP_LABELS = 5
"""An answer is right in the top-5 accuracy if the gold label is among so many likeliest ones."""
TOP5_ACCURACY = Metric("top5_accuracy", "top-5 accuracy", "higher", "share", per_item=True, binary=True)
RANKED = (CLASSIFICATION[0], TOP5_ACCURACY, *CLASSIFICATION[1:])
"""Metrics of classification among so many labels that the likeliest few say something."""

INSTRUCTION = (
    *CLASSIFICATION,
    Metric("likelihood_accuracy", "accuracy by likelihood", "higher", "share", per_item=True, binary=True),
)
"""Metrics of classification by instruction: `accuracy` reads what was generated, the last one the likelihoods."""

ROUGE = (
    Metric("rouge1", "ROUGE-1", "higher", "share", per_item=True),
    Metric("rouge2", "ROUGE-2", "higher", "share", per_item=True),
    Metric("rougeL", "ROUGE-L", "higher", "share", per_item=True),
    Metric("rougeLsum", "ROUGE-Lsum", "higher", "share", per_item=True),
)
"""The four variants of ROUGE; names are those of the package `rouge-score`."""

SUMMARIZATION = (
    *sorted(ROUGE, key=lambda metric: metric.name != "rougeL"),
    LOSS,
    Metric("answer_words", "words", "neither", "count", per_item=True),
)
"""Metrics of summaries, in the order in which they are shown."""

ANSWERING = (Metric("exact_match", "exact match", "higher", "share", per_item=True, binary=True), LOSS)
"""Metrics of answers that are right or wrong, in the order in which they are shown."""

METRICS: Mapping[str, Metric] = MappingProxyType(
    {metric.name: metric for metric in (*RANKED, *INSTRUCTION, *SUMMARIZATION, *ANSWERING)}
)


def find_metric(name: str) -> Metric:
    """Return a metric by its name, or say which there are."""
    if name not in METRICS:
        raise RecordError("metric", value=name, allowed=", ".join(METRICS), remedy=did_you_mean(name, METRICS))
    return METRICS[name]


def order_metrics(first_metric: str, group: Sequence[Metric] = CLASSIFICATION) -> list[Metric]:
    """Return the metrics of a task, the first metric first; it must be one of them, and one to choose by."""
    chosen = {metric.name: metric for metric in group if metric.direction != "neither"}
    if first_metric not in chosen:
        remedy = did_you_mean(first_metric, chosen)
        raise RecordError("metric", value=first_metric, allowed=", ".join(chosen), remedy=remedy)
    first = chosen[first_metric]
    return [first, *(metric for metric in group if metric is not first)]
