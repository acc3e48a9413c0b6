"""What would settle a question: by the formula, at the projected size, and where nothing would."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from whichtune.stats.best import measure_shortfalls
from whichtune.stats.intervals import CandidateSample, estimate_difference
from whichtune.stats.power import MOST_TIMES, Needs, detectable, items_needed, measure_needs, seeds_needed


def moments(name: str, total: float, scale: float, *, seeds=3, s2=0.0, c2=0.0, items=400) -> CandidateSample:
    """Make a candidate from its moments; items differ by `scale` in a way of its own."""
    means = np.random.default_rng(list(name.encode())).normal(size=items)
    means = total + scale * (means - means.mean()) / means.std(ddof=1)
    return CandidateSample(name, tuple(map(str, range(items))), total, means, seeds, s2, c2)


def test_items_alone_without_seed_variance() -> None:
    target, rival = moments("a", 0.80, 0.3), moments("b", 0.805, 0.3)
    gap = estimate_difference(target, rival)
    needed = items_needed(target, rival, 0.02, error=0.04)
    assert needed is not None
    df = gap.df * needed / 400
    reach = (stats.norm.ppf(0.96) + stats.norm.ppf(0.8)) * math.sqrt(gap.item_variance * 400)
    assert df > 1000
    assert needed == pytest.approx((reach / (gap.value + 0.02)) ** 2, rel=0.005)
    assert seeds_needed(target, rival, 0.02) is None


def test_a_smaller_need_does_not_settle_it() -> None:
    def reach(items, seeds):
        spread = (0.2**2 * 2 / 400) * 400 / items
        excess = 2 * 4e-5 / seeds
        df = (spread + excess) ** 2 / (spread**2 / (items - 1) + 2 * (4e-5 / seeds) ** 2 / (seeds - 1))
        return (stats.t.ppf(0.96, df) + stats.t.ppf(0.8, df)) * math.sqrt(spread + excess)

    target, rival = (moments(name, 0.8, 0.2, s2=4e-5) for name in "ab")
    correlation = float(np.corrcoef(target.item_means, rival.item_means)[0, 1])
    assert abs(correlation) < 0.1
    for margin in (0.03, 0.04):
        needed = seeds_needed(target, rival, margin)
        if needed is not None:
            assert needed >= 3
        items = items_needed(target, rival, margin)
        assert items is not None
        assert reach(items, 3) == pytest.approx(margin, rel=0.05), "the correlation of the made-up items is not 0"


def test_seeds_settle_what_seeds_leave_open() -> None:
    target, rival = (moments(name, 0.8, 0.01, s2=4e-4, c2=1e-6) for name in "ab")
    needed = seeds_needed(target, rival, 0.02)
    assert needed is not None
    assert 3 < needed < 40
    assert items_needed(target, rival, 0.02) is None, "endless items leave the trainings' variance"


def test_flips_of_items_are_averaged_by_trainings_too() -> None:
    plain = [moments(name, 0.8, 0.2, s2=1e-4, c2=0.0) for name in "ab"]
    flipping = [moments(name, 0.8, 0.2, s2=1e-4, c2=1e-4) for name in "ab"]
    with_flips = seeds_needed(*flipping, 0.032)
    without = seeds_needed(*plain, 0.032)
    assert with_flips is not None
    assert without is None or with_flips < without


@pytest.mark.parametrize("total", [0.75, 0.78])
def test_an_estimate_further_below_than_the_margin_is_settled_by_nothing(total) -> None:
    target, rival = moments("a", total, 0.3), moments("b", 0.8, 0.3)
    assert items_needed(target, rival, 0.02) is None
    assert seeds_needed(target, rival, 0.02) is None


def test_what_is_settled_already_needs_no_more() -> None:
    target, rival = moments("a", 0.8, 0.01), moments("b", 0.8, 0.01)
    assert items_needed(target, rival, 0.05) == 400
    varying = moments("a", 0.8, 0.01, s2=1e-6), moments("b", 0.8, 0.01, s2=1e-6, seeds=5)
    assert seeds_needed(*varying, 0.05) == 5, "never fewer than the one with the most has"


def test_a_plan_out_of_proportion_is_none() -> None:
    target, rival = moments("a", 0.78001, 0.3), moments("b", 0.8, 0.3)
    assert items_needed(target, rival, 0.02) is None
    near = moments("a", 0.783, 0.3)
    needed = items_needed(near, rival, 0.02)
    assert needed is not None
    assert 400 < needed <= 400 * MOST_TIMES


def test_a_candidate_without_randomness_runs_once() -> None:
    target, rival = moments("a", 0.8, 0.01, seeds=1), moments("b", 0.8, 0.01, s2=4e-4)
    needed = seeds_needed(target, rival, 0.02)
    assert needed is not None
    assert needed > 3
    assert seeds_needed(target, moments("b", 0.8, 0.01, seeds=1), 0.02) is None


def test_needs_are_those_of_the_hardest_rival() -> None:
    samples = [moments("a", 0.8, 0.2), moments("b", 0.802, 0.2), moments("c", 0.81, 0.2), moments("d", 0.2, 0.2)]
    shortfalls = measure_shortfalls(samples)
    assert [one.alive for one in shortfalls] == [True, True, True, False]
    needs = measure_needs(samples, shortfalls, "a", 0.02)
    each = [items_needed(samples[0], rival, 0.02, error=0.04 / 3) for rival in samples[1:3]]
    assert None not in each
    assert needs == Needs(max(each), None)
    assert measure_needs(samples, shortfalls, "a", 0.005) == Needs(None, None), "c is further above than that"


def test_the_least_detectable_effect() -> None:
    first, second = moments("a", 0.8, 0.2, s2=1e-4, c2=2e-5), moments("b", 0.7, 0.2, s2=5e-5, c2=2e-5)
    gap = estimate_difference(first, second)
    expected = (stats.t.ppf(0.975, gap.df) + stats.t.ppf(0.8, gap.df)) * gap.standard_error
    assert detectable(first, second) == pytest.approx(expected)
    assert detectable(first, second) == detectable(second, first)
    assert detectable(first, second, power=0.9) > detectable(first, second)
