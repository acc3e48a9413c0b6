"""Shortfalls from the best: by hand, by a second writing of the rule, and the promises that always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whichtune.stats.best import Gaps, bound_shortfalls, measure_shortfalls, smallest_promise
from whichtune.stats.intervals import CandidateSample, estimate_difference, sample_candidate

IDS = [str(item) for item in range(300)]


def draw(name: str, share: float, seeds: int = 3) -> CandidateSample:
    common = np.random.default_rng(0).random(len(IDS))
    own = np.random.default_rng([1, *name.encode()]).random((seeds, len(IDS)))
    scores = (0.7 * common + 0.3 * own < share).astype(float)
    return sample_candidate(name, IDS, scores.mean(axis=1), scores, binary=True)


def spelled_out(samples):
    """The rule, candidate by candidate."""
    rivals = len(samples) - 1

    def limit(one, other, error):
        gap = estimate_difference(one, other)
        return gap.value, stats.t.ppf(1 - error / rivals, gap.df) * math.sqrt(gap.variance)

    def could_be_best(one):
        return all(sum(limit(one, other, 0.01)) >= 0 for other in samples if other is not one)

    found = []
    for one in samples:
        others = [other for other in samples if other is not one and could_be_best(other)]
        above = [reach - value for value, reach in (limit(one, other, 0.04) for other in others)]
        below = [-value - reach for value, reach in (limit(one, other, 0.01) for other in others)]
        most, least = max(0.0, *above, 0.0), max(0.0, min(below, default=0.0))
        alive = could_be_best(one)
        estimate = max(sample.total for sample in samples) - one.total
        found.append((estimate, most, alive, least))
    return found


@pytest.mark.parametrize("shares", [(0.8, 0.79), (0.8, 0.7, 0.79, 0.5), (0.6, 0.6, 0.6, 0.6, 0.6), (0.9, 0.5, 0.4)])
def test_shortfalls_are_the_rule(shares) -> None:
    samples = [draw(f"c{place}", share, seeds=1 if place == 1 else 3) for place, share in enumerate(shares)]
    for told, expected in zip(measure_shortfalls(samples), spelled_out(samples), strict=True):
        assert (told.estimate, told.bound, told.alive, told.least) == pytest.approx(expected)


def test_two_candidates_by_hand() -> None:
    gaps = Gaps(*(np.array(each) for each in ([[0, -0.01], [0.01, 0]], [[0, 0.01], [0.01, 0]], [[9, 8], [8, 9]])))
    limits = bound_shortfalls(gaps)
    reach = stats.t.ppf(0.96, 8) * 0.01
    assert limits.alive.tolist() == [True, True]
    np.testing.assert_allclose(limits.bound, [reach + 0.01, reach - 0.01])
    assert limits.least.tolist() == [0.0, 0.0]


def test_the_only_one_left_is_promised_to_be_the_best() -> None:
    best, poor, worse = measure_shortfalls([draw("best", 0.9), draw("poor", 0.6), draw("worse", 0.5)])
    assert (best.alive, best.bound, best.estimate, best.least) == (True, 0.0, 0.0, 0.0)
    assert not poor.alive
    assert 0 < poor.least < poor.estimate < poor.bound < 1
    assert smallest_promise([poor, best, worse]) is best


def test_among_equal_promises_the_better_estimate_is_taken() -> None:
    low, high = measure_shortfalls([draw("low", 0.6), draw("high", 0.9)])
    assert smallest_promise([low, high]) is high
    same = [high, type(high)("other", 0.001, high.bound, alive=True)]
    assert smallest_promise(list(reversed(same))) is high


def test_candidates_that_agree_everywhere() -> None:
    one, other = measure_shortfalls([draw("same", 0.8), draw("same", 0.8)])
    assert one == other
    assert one.estimate == 0
    assert 0 < one.bound < 0.05
    ids = ["a", "b"]
    flat = [sample_candidate(name, ids, [0.5], [[0.5, 0.5]]) for name in "xy"]
    assert [(each.bound, each.alive) for each in measure_shortfalls(flat)] == [(0.0, True)] * 2, "V = 0"
    apart = [sample_candidate(name, ids, [value], [[value] * 2]) for name, value in (("x", 0.5), ("y", 0.25))]
    assert [(each.bound, each.alive, each.least) for each in measure_shortfalls(apart)] == [
        (0.0, True, 0.0),
        (0.25, False, 0.25),
    ]


def test_one_candidate_has_no_shortfall() -> None:
    with pytest.raises(ValueError, match="two candidates"):
        measure_shortfalls([draw("x", 0.5)])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1)), min_size=2, max_size=8), st.floats(1, 1e3))
def test_promises_that_always_hold(candidates, df) -> None:
    totals, errors = (np.array(column) for column in zip(*candidates, strict=True))
    value = totals[:, None] - totals
    limits = bound_shortfalls(Gaps(value, np.hypot(errors[:, None], errors), np.full(value.shape, df)))
    best = totals.argmax()
    assert limits.alive[best], "the best estimate could always be the best"
    assert limits.least[best] == 0
    assert (limits.least <= limits.bound).all()
    assert (limits.least[limits.alive & (np.arange(len(totals)) == best)] == 0).all()
    assert np.isfinite(limits.bound).all()


def test_studies_on_a_leading_axis_do_not_touch_each_other() -> None:
    generator = np.random.default_rng(3)
    totals = generator.normal(0, 0.03, (5, 4))
    value, error = totals[:, :, None] - totals[:, None], np.full((5, 4, 4), 0.01)
    whole = bound_shortfalls(Gaps(value, error, np.full(value.shape, 20.0)))
    for place in range(5):
        alone = bound_shortfalls(Gaps(value[place], error[place], np.full((4, 4), 20.0)))
        np.testing.assert_array_equal(alone.bound, whole.bound[place])
        np.testing.assert_array_equal(alone.least, whole.least[place])
