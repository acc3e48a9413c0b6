"""The gate: both sides train as much and end alike, or the row does not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from whichtune.bench.model import Agreement, Marks, SideRun
from whichtune.stats.intervals import CandidateSample, estimate_difference, sample_candidate

POINTS = 0.02
"""Difference of mean accuracies that always passes."""
LOSS_SHARE = 0.02
"""Difference of mean losses that always passes, as a share of the peer's."""
LEVEL = 0.95
"""All candidates of a row together."""


def compare_sides(own: SideRun, other: SideRun) -> list[Agreement]:
    """Compare steps, test tokens and scores of every candidate."""
    return [compare_candidate(name, own, other, len(own.marks)) for name in own.marks]


def compare_candidate(name: str, own: SideRun, other: SideRun, count: int) -> Agreement:
    """Compare one candidate of so many."""
    if name not in other.marks:
        return Agreement(name, float(own.marks[name].values.mean()), float("nan"), 0.0, "the peer did not run it")
    value, reference, allowed = compare_marks(own.marks[name], other.marks[name], 1 - (1 - LEVEL) / count)
    fault = ""
    if own.steps[name] != other.steps[name]:
        fault = f"{_list_steps(own, name)} steps against {_list_steps(other, name)} of the peer"
    elif own.tokens[name] != other.tokens[name]:
        fault = f"{own.tokens[name]:,} test tokens against {other.tokens[name]:,} of the peer"
    elif not abs(value - reference) <= allowed:
        fault = f"{abs(value - reference):.3g} apart, {allowed:.2g} allowed"
    return Agreement(name, value, reference, allowed, fault)


def compare_marks(own: Marks, other: Marks, level: float) -> tuple[float, float, float]:
    """Return both means and the greatest difference that passes at a level.

    It is half the interval of the difference, items paired and seeds nested, or the margin, whichever is greater. A
    side with one training is given the other's variance between seeds, which it cannot know itself.
    """
    pair = [
        sample_candidate(side, one.ids, one.values.mean(axis=1), one.values, binary=one.binary)
        for side, one in (("whichtune", own), ("peer", other))
    ]
    first, second = lend_variance(pair[0], pair[1]), lend_variance(pair[1], pair[0])
    gap = estimate_difference(first, second)
    low, high = gap.interval(level)
    margin = POINTS if own.binary else LOSS_SHARE * abs(second.total)
    return first.total, second.total, max(margin, (high - low) / 2)


def lend_variance(sample: CandidateSample, other: CandidateSample) -> CandidateSample:
    """Give a side with one training the other's variance between seeds."""
    if sample.seeds > 1 or other.seeds == 1:
        return sample
    return replace(sample, seed_variance=other.seed_variance, flip_variance=other.flip_variance)


def _list_steps(side: SideRun, name: str) -> str:
    return " or ".join(f"{steps:,}" for steps in sorted(side.steps[name]))


def worst_of(agreements: list[Agreement]) -> Agreement | None:
    """Return the candidate that is furthest apart for what it is allowed."""
    known = [one for one in agreements if np.isfinite(one.other)]
    return max(known, key=lambda one: abs(one.apart) / one.allowed if one.allowed else 0.0, default=None)
