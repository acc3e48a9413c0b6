"""The table of metrics: name, direction and unit of each, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from whichtune.errors import RecordError, did_you_mean

Direction = Literal["higher", "lower"]
Unit = Literal["share", "nats", "points", "count"]


@dataclass(frozen=True)
class Metric:
    """What a metric is called, which way is better and what it counts."""

    name: str
    title: str
    """Name as a person reads it."""
    direction: Direction
    """Which way is better."""
    unit: Unit
    """What the value counts; a share is 0..1 here and shown in hundredths."""
    per_item: bool
    """Whether every example has a score of its own (or an exact jackknife pseudo-value), so that an interval exists."""


CLASSIFICATION = (
    Metric("accuracy", "accuracy", "higher", "share", per_item=True),
    Metric("macro_f1", "macro F1", "higher", "share", per_item=True),
    Metric("weighted_f1", "weighted F1", "higher", "share", per_item=True),
    Metric("loss", "loss", "lower", "nats", per_item=True),
    Metric("calibration_error", "calibration error", "lower", "share", per_item=False),
)
"""Metrics of classification, in the order in which they are shown."""

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in CLASSIFICATION})


def find_metric(name: str) -> Metric:
    """Return a metric by its name, or say which there are."""
    if name not in METRICS:
        raise RecordError("metric", value=name, allowed=", ".join(METRICS), remedy=did_you_mean(name, METRICS))
    return METRICS[name]
