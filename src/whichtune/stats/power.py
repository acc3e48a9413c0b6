"""What would settle a question: items and seeds needed, and the least difference that a study can find.

All of it projects the variances that a study has measured to another size. With `a` times as many items the part
between items is divided by `a`; with `a` times as many trainings the part between seeds is, and of the part between
items that which flips of items between trainings explain. Degrees of freedom are projected too, and the quantiles with
them: a few trainings keep them low, however many items there are.

A projection takes the estimates for the truth. It is a plan, not a promise: with them right, the next study settles the
question in about 80 of 100 cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whichtune.stats.best import ERROR_BOUND, Shortfall
from whichtune.stats.intervals import CandidateSample, estimate_difference, quantile

POWER = 0.8
"""Chance of settling the question that a plan aims at."""
MOST_TIMES = 1000
"""A plan for more than so many times the size is none."""


@dataclass(frozen=True)
class Needs:
    """What would show a candidate to be within the margin, by one source alone; None where that source cannot."""

    items: int | None
    """Test items in all, with the trainings as they are."""
    seeds: int | None
    """Trainings of each candidate in all, on the items as they are."""


def measure_needs(
    samples: Sequence[CandidateSample], shortfalls: Sequence[Shortfall], target: str, margin: float
) -> Needs:
    """Return what would show the target to be within the margin of every other candidate that could be the best."""
    own, rivals = find_rivals(samples, shortfalls, target)
    return gather_needs([(own, rival) for rival in rivals], margin, ERROR_BOUND / max(1, len(samples) - 1))


def find_rivals(
    samples: Sequence[CandidateSample], shortfalls: Sequence[Shortfall], name: str
) -> tuple[CandidateSample, list[CandidateSample]]:
    """Return the sample of a candidate, and those of all others that could be the best."""
    named = {sample.name: sample for sample in samples}
    return named[name], [named[one.name] for one in shortfalls if one.alive and one.name != name]


def gather_needs(pairs: Sequence[tuple[CandidateSample, CandidateSample]], margin: float, error: float) -> Needs:
    """Return what would show the first of every pair to be less than the margin below the second."""
    items = [items_needed(target, rival, margin, error=error) for target, rival in pairs]
    seeds = [seeds_needed(target, rival, margin, error=error) for target, rival in pairs]
    return Needs(_most(items), _most(seeds))


def items_needed(
    target: CandidateSample,
    rival: CandidateSample,
    margin: float,
    *,
    error: float = ERROR_BOUND,
    power: float = POWER,
) -> int | None:
    """Return how many items would show the target to be less than the margin below the rival.

    None where items alone cannot: its estimate is further below than that, or the trainings vary too much.
    """
    plan = _Plan.of(target, rival)
    reach = plan.value + margin
    return _smallest(plan.items, lambda items: plan.needed(items / plan.items, 1.0, error, power) <= reach)


def seeds_needed(
    target: CandidateSample,
    rival: CandidateSample,
    margin: float,
    *,
    error: float = ERROR_BOUND,
    power: float = POWER,
) -> int | None:
    """Return how many trainings of each would show the target to be less than the margin below the rival.

    None where trainings alone cannot: its estimate is further below than that, or the items are too few. A candidate
    without randomness runs once in any case.
    """
    plan = _Plan.of(target, rival)
    varying = [sample.seeds for sample in (target, rival) if sample.seeds > 1]
    if not varying:
        return None
    reach, least = plan.value + margin, max(varying)
    return _smallest(least, lambda seeds: plan.needed(1.0, float(seeds), error, power) <= reach)


def detectable(first: CandidateSample, second: CandidateSample, power: float = POWER, error: float = 0.05) -> float:
    """Return the least true difference of two that a study of this size finds with that chance.

    *Finding* means that the two-sided interval of the difference, here at 95 %, leaves out 0.
    """
    return _Plan.of(first, second).needed(1.0, 1.0, error / 2, power)


@dataclass(frozen=True)
class _Part:
    """Variances of one candidate over its seeds, of the metric of a single training."""

    excess: float
    flips: float
    seeds: int


@dataclass(frozen=True)
class _Plan:
    """A difference as it was measured, to be projected to another size."""

    value: float
    items: int
    between: float
    """Part of its variance between items."""
    parts: tuple[_Part, ...]
    """Of candidates with randomness only."""

    @classmethod
    def of(cls, first: CandidateSample, second: CandidateSample) -> _Plan:
        """Take the pieces of a measured difference."""
        gap = estimate_difference(first, second)
        parts = (_Part(one.excess * one.seeds, one.flip_variance, one.seeds) for one in (first, second))
        return cls(gap.value, gap.items, gap.item_variance, tuple(part for part in parts if part.seeds > 1))

    def needed(self, times: float, seeds: float, error: float, power: float) -> float:
        """Return the distance that is found with that power, one-sided at that error.

        For `times` as many items, and so many `seeds` of each candidate that varies (as many as there are, if fewer).
        """
        trained = [max(part.seeds, seeds) for part in self.parts]
        both = list(zip(self.parts, trained, strict=True))
        fewer_flips = sum(part.flips * (1 / part.seeds - 1 / count) for part, count in both)
        between = max(self.between - fewer_flips, self.between / MOST_TIMES) / times
        total = between + sum(part.excess / count for part, count in both)
        spread = between**2 / (self.items * times - 1)
        spread += sum(((part.excess + part.flips / times) / count) ** 2 / (count - 1) for part, count in both)
        fewest = min([self.items * times, *trained]) - 1
        df = max(total**2 / spread, fewest) if spread > 0 else math.inf
        return float((quantile(1 - error, df) + quantile(power, df)) * math.sqrt(total))


def _smallest(start: int, settles: Callable[[int], bool]) -> int | None:
    """Return the smallest size from `start` on that settles the question, None if none up to the most does."""
    low, high = start - 1, start
    while not settles(high):
        if high >= start * MOST_TIMES:
            return None
        low, high = high, min(2 * high, start * MOST_TIMES)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def _most(found: Sequence[int | None]) -> int | None:
    """Return the greatest need, None where there is none or one of them cannot be met."""
    known = [each for each in found if each is not None]
    return max(known) if known and len(known) == len(found) else None
