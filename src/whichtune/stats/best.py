"""How far each candidate can be from the best: comparisons with the best, simultaneous for all of them (Hsu 1996).

Whether a candidate "does not differ significantly from the best" says nothing about how much worse it may be. Here
each candidate has limits of its shortfall instead, and the limits of all of them hold together at 95 %. A margin then
picks from the list: whatever it is, a candidate whose bound lies within it is shown to be good enough.

Which candidate is truly the best is not known, so limits are taken over all that could be:

- *alive*: no other candidate is shown to be better than it;
- *bound*: the greatest upper limit of its distance below another one alive, also where it is ruled out itself: what is
  shown not to be the best may well be shown to be near it;
- *least*: the smallest lower limit of its distance below another one alive.

With K candidates the true best has K-1 comparisons, whoever it is. 4 % of error is shared by their upper limits and 1 %
by their lower ones (Bonferroni). As long as these 2 (K-1) limits of the true best's own comparisons hold, it is alive
itself, and every bound and every least holds, because each was taken over it too. Sharing the error by those that are
alive only would look sharper and be wrong: they are chosen by the same test items (`docs/statistics.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whichtune.stats.counting import Floats
from whichtune.stats.intervals import CandidateSample, estimate_difference, quantile

ERROR_ALIVE = 0.01
"""Error of ruling candidates out, and of the lower limits of shortfalls."""
ERROR_BOUND = 0.04
"""Error shared by the upper limits."""


@dataclass(frozen=True)
class Shortfall:
    """How far a candidate is below the best, in units of the metric."""

    name: str
    estimate: float
    """The best mean less its own; never negative."""
    bound: float
    """At most so far below the best, at 95 % for all candidates together; 0 where all others are ruled out."""
    alive: bool
    """It could be the best."""
    least: float = 0.0
    """At least so far below the best; holds together with all bounds."""


@dataclass(frozen=True)
class Gaps:
    """Differences between all pairs of candidates, [..., K, K]; leading axes, if any, are independent studies."""

    value: Floats
    """How far the row's candidate is above the column's."""
    error: Floats
    """Standard error of it."""
    df: Floats
    """Degrees of freedom of that error; infinite where there is none."""


@dataclass(frozen=True)
class Limits:
    """Of the shortfalls of all candidates, [..., K] each."""

    alive: NDArray[np.bool_]
    least: Floats
    bound: Floats


def measure_shortfalls(samples: Sequence[CandidateSample]) -> list[Shortfall]:
    """Return the shortfall of each candidate, in the order given; two at least, all on the same items."""
    if len(samples) < 2:
        raise ValueError("a shortfall needs two candidates to compare")
    limits = bound_shortfalls(collect_gaps(samples))
    best = max(sample.total for sample in samples)
    columns = (limits.bound, limits.alive, limits.least)
    rows = zip(samples, *(column.tolist() for column in columns), strict=True)
    return [Shortfall(sample.name, best - sample.total, *rest) for sample, *rest in rows]


def smallest_promise(shortfalls: Sequence[Shortfall]) -> Shortfall:
    """Return the candidate with the least bound: no smaller margin can be met. Among equals, the least estimate."""
    return min(shortfalls, key=lambda one: (one.bound, one.estimate))


def collect_gaps(samples: Sequence[CandidateSample]) -> Gaps:
    """Estimate the differences between all pairs of candidates, [K, K]."""
    count = len(samples)
    value, error, df = np.zeros((count, count)), np.zeros((count, count)), np.full((count, count), math.inf)
    for row in range(count):
        for column in range(row + 1, count):
            gap = estimate_difference(samples[row], samples[column])
            value[row, column], value[column, row] = gap.value, -gap.value
            error[row, column] = error[column, row] = gap.standard_error
            df[row, column] = df[column, row] = gap.df
    return Gaps(value, error, df)


def bound_shortfalls(gaps: Gaps) -> Limits:
    """Return the limits of all shortfalls."""
    own = np.eye(gaps.value.shape[-1], dtype=bool)
    rivals = len(own) - 1
    strict = quantile(1 - ERROR_ALIVE / rivals, gaps.df) * gaps.error
    alive = np.asarray(np.all(own | (gaps.value + strict >= 0), axis=-1))
    others = alive[..., None, :] & ~own
    above = quantile(1 - ERROR_BOUND / rivals, gaps.df) * gaps.error - gaps.value
    below = np.where(others, -gaps.value - strict, math.inf).min(axis=-1)
    return Limits(
        alive=alive,
        least=np.where(np.isinf(below), 0.0, np.maximum(below, 0.0)),
        bound=np.maximum(np.where(others, above, 0.0).max(axis=-1), 0.0),
    )
