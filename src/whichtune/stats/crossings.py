"""Two candidates over training sizes: who is ahead at which size, and between which sizes that changes.

Each seed draws a chain of nested subsets that all candidates share, so two candidates are paired within a chain, and
the chains, like the items, are random. One chain for all would leave out what another draw of so few rows does, which
at small sizes is most of the variance. Whoever is ahead is shown at each size with the error shared by all sizes
(Bonferroni), so that all calls, and with them all brackets, hold together at 95 %.

A crossing has no point estimate. It lies between the last size at which one candidate is shown to be ahead and the
first at which the other is; a curve between two sizes is not looked at, and nothing is said beyond the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from whichtune.spec.sizes import LEAST_CHAINS
from whichtune.stats.counting import Floats
from whichtune.stats.intervals import Estimate, estimate_single, sample_candidate

ERROR = 0.05
"""Error of all calls of two candidates together."""

Chains = Mapping[int, tuple[float, Floats]]
"""By seed of the chain: the metric of its training, and the score of each item [n], higher being better."""


@dataclass(frozen=True)
class SizedGap:
    """How far the first candidate is ahead at one training size."""

    size: int
    """Labelled rows that may be used, validation included."""
    gap: Estimate
    low: float
    """Interval that holds at all sizes together."""
    high: float
    chains: int
    ahead: str | None
    """The candidate that is shown to be better; None where that is not settled."""


@dataclass(frozen=True)
class Bracket:
    """A change of the better candidate, somewhere between two sizes."""

    low: int
    high: int
    before: str
    """Better at `low`."""
    after: str
    """Better at `high`."""


@dataclass(frozen=True)
class SizeComparison:
    """Two candidates at all sizes at which both were trained."""

    first: str
    second: str
    gaps: tuple[SizedGap, ...]
    """Smallest size first."""
    brackets: tuple[Bracket, ...]
    """Smallest first; empty where no change is shown, which does not mean that there is none."""


def compare_over_sizes(
    first: str, second: str, scores: Mapping[int, tuple[Chains, Chains]], *, binary: bool = False
) -> SizeComparison:
    """Compare two candidates at each size, over the chains that both have there.

    Chains of one size hold the same items in the same order. A candidate that uses no training rows stands at each
    size with the same scores.
    """
    level = 1 - ERROR / max(1, len(scores))
    sizes = [size for size in sorted(scores) if len(_shared(*scores[size])) > 1]
    gaps = tuple(
        _compare((first, second), size, pair_by_chain(*scores[size], binary=binary), len(_shared(*scores[size])), level)
        for size in sizes
    )
    return SizeComparison(first, second, gaps, _find_brackets(gaps))


def pair_by_chain(first: Chains, second: Chains, *, binary: bool = False) -> Estimate:
    """Return how far the first candidate is above the second, paired within chains and over items; two chains or more.

    0/1 scores add 2/n^2 to the variance, as in every difference.
    """
    shared = _shared(first, second)
    items = np.stack([first[chain][1] - second[chain][1] for chain in shared])
    totals = [first[chain][0] - second[chain][0] for chain in shared]
    count = items.shape[1]
    gap = estimate_single(sample_candidate("gap", [str(item) for item in range(count)], totals, items))
    return replace(gap, item_variance=gap.item_variance + 2 / count**2) if binary else gap


def _compare(names: tuple[str, str], size: int, gap: Estimate, chains: int, level: float) -> SizedGap:
    low, high = gap.interval(level)
    settled = chains >= LEAST_CHAINS and not low <= 0 <= high
    return SizedGap(size, gap, low, high, chains, names[0 if low > 0 else 1] if settled else None)


def _shared(first: Chains, second: Chains) -> list[int]:
    return [chain for chain in first if chain in second]


def _find_brackets(gaps: Iterable[SizedGap]) -> tuple[Bracket, ...]:
    """Find each pair of neighbours, among the sizes with a call, whose calls differ."""
    called = [(gap.size, gap.ahead) for gap in gaps if gap.ahead is not None]
    steps = pairwise(called)
    return tuple(Bracket(low, high, before, after) for (low, before), (high, after) in steps if before != after)
