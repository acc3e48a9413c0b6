"""Estimates with intervals: items and seeds are random, the training set and the chosen setting are fixed.

Items are crossed with candidates (every candidate answers the same rows) and seeds are nested in them (no two
trainings share one in any sense that matters). The variance of a mean, or of a difference of two, is therefore a part
between items and, for each candidate, the part of its seed variance that items changing sides do not explain already;
degrees of freedom are Satterthwaite's (1946). Bootstraps over items only, tests over seeds only and McNemar's test
over pooled seeds each leave out one of the two and call far too much a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from whichtune.errors import RecordError
from whichtune.stats.counting import Floats


@dataclass(frozen=True)
class CandidateSample:
    """Scores of one candidate on one metric over its seeds and items, higher being better, reduced to their moments."""

    name: str
    ids: tuple[str, ...]
    """Items, in the order of `item_means`."""
    total: float
    """Mean over seeds of the metric."""
    item_means: Floats
    """Mean over seeds of each item's score, [n]."""
    seeds: int
    """Trainings; 1 for a candidate without randomness, whose seed variance is then truly 0."""
    seed_variance: float
    """Variance of the metric over seeds (s2); 0 with one training."""
    flip_variance: float
    """Part of it that items changing sides between seeds explain (c2)."""
    binary: bool = False
    """Scores of single items are 0 or 1, so that the metric is a proportion."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Least and greatest value the metric can take; intervals of the candidate alone end there."""

    @property
    def excess(self) -> float:
        """Variance that seeds add to the mean beyond flips of items (E)."""
        return max(0.0, (self.seed_variance - self.flip_variance) / self.seeds)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each item stands."""
        return {item: place for place, item in enumerate(self.ids)}


@dataclass(frozen=True)
class Estimate:
    """A value, its variance by parts and the degrees of freedom of that variance."""

    value: float
    item_variance: float
    """Part of the variance that comes from which items were drawn (V_I)."""
    seed_variance: float
    """Part that comes from which seeds were drawn, beyond flips of items (E, added up over candidates)."""
    df: float
    """Satterthwaite's degrees of freedom; infinite where there is no variance."""
    items: int
    proportion: bool = False
    """The value is a proportion, and its interval is Wilson's with an effective number of items."""
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def variance(self) -> float:
        """All of the variance (V)."""
        return self.item_variance + self.seed_variance

    @property
    def standard_error(self) -> float:
        """Square root of the variance."""
        return math.sqrt(self.variance)

    @property
    def p_value(self) -> float:
        """Two-sided test of the value against 0."""
        if self.variance == 0:
            return 1.0 if self.value == 0 else 0.0
        distance = abs(self.value) / self.standard_error
        return float(2 * (special.ndtr(-distance) if math.isinf(self.df) else special.stdtr(self.df, -distance)))

    def quantile(self, probability: float) -> float:
        """Quantile of t at these degrees of freedom, of the normal where they are infinite."""
        return float(quantile(probability, self.df))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval at a level."""
        quantile = self.quantile((1 + level) / 2)
        if self.proportion:
            return _wilson(self.value, self._effective_items(), quantile)
        half = quantile * self.standard_error
        return max(self.bounds[0], self.value - half), min(self.bounds[1], self.value + half)

    def _effective_items(self) -> float:
        """Items that, drawn independently, would give this variance; all of them where every answer agrees."""
        spread = self.value * (1 - self.value)
        return self.items if self.variance == 0 or spread <= 0 else spread / self.variance


def sample_candidate(
    name: str, ids: Sequence[str], totals: ArrayLike, items: ArrayLike, *, binary: bool = False
) -> CandidateSample:
    """Reduce a candidate's scores: the metric of each seed [S] and the score of each item by each seed [S, n]."""
    values, scores = np.asarray(totals, np.float64), np.asarray(items, np.float64)
    if scores.shape != (len(values), len(ids)):
        raise ValueError(f"{name}: scores of shape {scores.shape} for {len(values)} seeds and {len(ids)} items")
    if len(set(ids)) != len(ids):
        raise RecordError(f"{name}: an item id stands twice in its predictions", remedy="run the trial again")
    if len(ids) < 2:
        raise RecordError(f"{name}: an interval needs two items at least", value=len(ids))
    return CandidateSample(
        name=name,
        ids=tuple(ids),
        total=float(values.mean()),
        item_means=scores.mean(axis=0),
        seeds=len(values),
        seed_variance=float(values.var(ddof=1)) if len(values) > 1 else 0.0,
        flip_variance=_flip_variance(scores),
        binary=binary,
    )


def estimate_single(sample: CandidateSample) -> Estimate:
    """Return the mean of one candidate.

    The interval of a proportion is Wilson's, whose effective number of items carries the variance; it needs no added
    term near 0 and 1, so the one of `estimate_difference` is left out here.
    """
    return _estimate(sample.total, float(sample.item_means.var(ddof=1)) / len(sample.ids), (sample,))


def estimate_difference(first: CandidateSample, second: CandidateSample) -> Estimate:
    """Return how far the first candidate is above the second, paired over items.

    For 0/1 scores the variance has 2/n^2 more, as if the candidates had differed on one more item each way: without
    it, two that happen to agree everywhere would have an interval without width.
    """
    gaps = first.item_means - align(second, first)
    count = len(gaps)
    between = float(gaps.var(ddof=1)) / count + (2 / count**2 if first.binary and second.binary else 0.0)
    return _estimate(first.total - second.total, between, (first, second))


def align(sample: CandidateSample, to: CandidateSample) -> Floats:
    """Return the item means of a sample in the order of another, which must hold the same items."""
    if sample.ids == to.ids:
        return sample.item_means
    shared = len(sample.places.keys() & to.places.keys())
    if shared != len(sample.ids) or shared != len(to.ids):
        raise RecordError(
            f"{to.name} and {sample.name} were not scored on the same items",
            value=f"{len(to.ids):,} and {len(sample.ids):,} items, {shared:,} of them shared",
            remedy="only candidates of one test split can be compared; run the older ones again",
        )
    return sample.item_means[[sample.places[item] for item in to.ids]]


def quantile(probability: float | Floats, df: float | Floats) -> Floats:
    """Quantile of t, and of the normal where the degrees of freedom are infinite."""
    finite = np.where(np.isinf(df), 1.0, df)
    return np.where(np.isinf(df), special.ndtri(probability), special.stdtrit(finite, probability))


def _estimate(value: float, between_items: float, samples: tuple[CandidateSample, ...]) -> Estimate:
    """Put the parts together; Satterthwaite's df weigh each seed variance as it was estimated, flips included.

    They are never fewer than those of the part with the fewest: two candidates that flip on the same items have less
    variance than their seeds alone, and the formula would give a fraction of one degree, and limits without end.
    """
    excess = sum(sample.excess for sample in samples)
    count = len(samples[0].ids)
    spread = between_items**2 / (count - 1)
    spread += sum((one.seed_variance / one.seeds) ** 2 / (one.seeds - 1) for one in samples if one.seeds > 1)
    total = between_items + excess
    fewest = min([count, *(one.seeds for one in samples if one.seeds > 1)]) - 1
    alone = len(samples) == 1
    return Estimate(
        value=value,
        item_variance=between_items,
        seed_variance=excess,
        df=max(total**2 / spread, fewest) if total > 0 and spread > 0 else math.inf,
        items=count,
        proportion=alone and samples[0].binary,
        bounds=samples[0].bounds if alone else (-math.inf, math.inf),
    )


def _flip_variance(scores: Floats) -> float:
    """Interaction of seeds and items, as variance of a seed's mean: c2 of scores [S, n]; 0 with one seed."""
    seeds, count = scores.shape
    if seeds == 1:
        return 0.0
    rest = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    return float((rest**2).sum()) / ((count - 1) * (seeds - 1)) / count


def _wilson(share: float, items: float, quantile: float) -> tuple[float, float]:
    """Wilson's (1927) interval of a proportion out of so many items."""
    squared = quantile**2 / items
    centre = (share + squared / 2) / (1 + squared)
    half = quantile / (1 + squared) * math.sqrt(max(0.0, share * (1 - share)) / items + squared / (4 * items))
    return max(0.0, centre - half), min(1.0, centre + half)
