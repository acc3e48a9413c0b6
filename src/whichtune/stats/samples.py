"""From the predictions of a candidate's trials to its sample on a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions
from whichtune.stats.intervals import CandidateSample, sample_candidate
from whichtune.stats.metrics import Metric, find_metric
from whichtune.stats.pseudo import psi

MIN_ITEMS = 2
"""An interval needs a variance between items."""


def collect_sample(
    name: str, trials: Sequence[Predictions], labels: Sequence[str], metric: str
) -> CandidateSample | None:
    """Return the sample of one candidate from its trials' predictions on one split, one entry a seed.

    None where the metric has no interval: it has no scores of single items, a loss is not finite, likelihoods are
    missing, or there is one item only. Trials must hold the same items, in any order.
    """
    scored = [psi(one, labels, metric) for one in trials]
    known = [each for each in scored if each is not None]
    if not known or len(known) < len(scored) or len(trials[0].ids) < MIN_ITEMS:
        return None
    items = np.stack([values[_order(name, one, trials[0])] for one, (_, values) in zip(trials, known, strict=True)])
    totals = [total for total, _ in known]
    sample = sample_candidate(name, trials[0].ids, totals, items, binary=find_metric(metric).binary)
    return replace(sample, bounds=_bounds(find_metric(metric)))


def _bounds(metric: Metric) -> tuple[float, float]:
    """Least and greatest value of a metric turned so that higher is better."""
    if metric.unit == "share":
        return 0.0, 1.0
    return (-inf, 0.0) if metric.direction == "lower" else (0.0, inf)


def _order(name: str, own: Predictions, first: Predictions) -> slice | list[int]:
    if own.ids == first.ids:
        return slice(None)
    places = {item: place for place, item in enumerate(own.ids)}
    if len(own.ids) != len(first.ids) or places.keys() != set(first.ids):
        shared = len(places.keys() & set(first.ids))
        raise RecordError(
            f"{name}: its trials were not scored on the same items",
            value=f"{len(first.ids):,} and {len(own.ids):,} items, {shared:,} of them shared",
            remedy="run the study again from the data that it has now",
        )
    return [places[item] for item in first.ids]
