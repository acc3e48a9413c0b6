"""Estimates and intervals: by hand, by a second writing of the formulas, and at their edges."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from whichtune.errors import RecordError
from whichtune.stats.intervals import align, estimate_difference, estimate_single, sample_candidate
from whichtune.stats.samples import collect_sample

LABELS = ("a", "b")


def draw(seeds: int, items: int, share: float = 0.8, seed: int = 0, name: str = "x"):
    scores = (np.random.default_rng(seed).random((seeds, items)) < share).astype(float)
    return scores, sample_candidate(
        name, [str(item) for item in range(items)], scores.mean(axis=1), scores, binary=True
    )


def spelled_out(first, second):
    """The formulas written as loops."""
    parts = []
    for psi in (first, second):
        seeds, items = psi.shape
        totals = [sum(row) / items for row in psi]
        centre = sum(totals) / seeds
        s2 = sum((each - centre) ** 2 for each in totals) / (seeds - 1) if seeds > 1 else 0.0
        c2 = 0.0
        for s in range(seeds):
            for i in range(items):
                c2 += (psi[s, i] - sum(psi[:, i]) / seeds - totals[s] + centre) ** 2
        c2 = c2 / ((items - 1) * (seeds - 1)) / items if seeds > 1 else 0.0
        parts.append((seeds, centre, s2, max(0.0, (s2 - c2) / seeds)))
    items = first.shape[1]
    gaps = [sum(first[:, i]) / len(first) - sum(second[:, i]) / len(second) for i in range(items)]
    mean = sum(gaps) / items
    between = sum((gap - mean) ** 2 for gap in gaps) / (items - 1) / items + 2 / items**2
    total = between + parts[0][3] + parts[1][3]
    below = between**2 / (items - 1) + sum((s2 / s) ** 2 / (s - 1) for s, _, s2, _ in parts if s > 1)
    return parts[0][1] - parts[1][1], total, total**2 / below


@pytest.mark.parametrize(("seeds", "others"), [(3, 3), (3, 5), (1, 3), (1, 1), (8, 1)])
def test_pair_is_the_formula(seeds, others) -> None:
    first, one = draw(seeds, 60, 0.8, seed=1)
    second, other = draw(others, 60, 0.7, seed=2, name="y")
    value, variance, df = spelled_out(first, second)
    estimate = estimate_difference(one, other)
    assert estimate.value == pytest.approx(value)
    assert estimate.variance == pytest.approx(variance)
    assert estimate.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert estimate.interval() == pytest.approx((value - half, value + half))
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(abs(value) / math.sqrt(variance), df))


def test_one_training_each_is_the_paired_t_test_but_for_the_added_term() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(1, 50)), generator.normal(size=(1, 50))
    ids = list(map(str, range(50)))
    one, other = (sample_candidate(name, ids, x.mean(axis=1), x) for name, x in (("x", first), ("y", second)))
    reference = stats.ttest_rel(first[0], second[0])
    estimate = estimate_difference(one, other)
    assert estimate.p_value == pytest.approx(reference.pvalue)
    assert estimate.interval() == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert estimate.seed_variance == 0


def test_one_training_of_one_candidate_is_the_one_sample_interval() -> None:
    values = np.random.default_rng(5).normal(size=(1, 40))
    estimate = estimate_single(sample_candidate("x", list(map(str, range(40))), values.mean(axis=1), values))
    reference = stats.ttest_1samp(values[0], 0.0).confidence_interval(0.95)
    assert estimate.interval() == pytest.approx((reference.low, reference.high))


def test_a_proportion_has_wilsons_interval_with_t() -> None:
    _, sample = draw(1, 101, 0.8, seed=6)
    estimate = estimate_single(sample)
    reference = stats.binomtest(round(sample.total * 101), 101)
    # p(1-p)/V is n - 1 for one seed; the normal quantile then gives SciPy's interval for a hundred items.
    low, high = estimate.interval()
    shares = np.array([low, high])
    quantile = stats.t.ppf(0.975, 100)
    np.testing.assert_allclose((shares - sample.total) ** 2, quantile**2 * shares * (1 - shares) / 100, rtol=1e-9)
    theirs = reference.proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_answers_that_all_agree_have_an_interval_with_width(share) -> None:
    scores = np.full((3, 50), share)
    sample = sample_candidate("x", list(map(str, range(50))), scores.mean(axis=1), scores, binary=True)
    low, high = estimate_single(sample).interval()
    quantile = NormalDist().inv_cdf(0.975)
    width = quantile**2 / (50 + quantile**2)
    assert (low, high) == pytest.approx((1 - width, 1.0) if share else (0.0, width))


def test_identical_candidates() -> None:
    scores, one = draw(3, 80, seed=7)
    binary = estimate_difference(one, one)
    low, high = binary.interval()
    assert binary.value == 0
    assert low < 0 < high, "0/1 scores never have an interval without width"
    plain = sample_candidate("y", one.ids, scores.mean(axis=1), scores)
    flat = estimate_difference(plain, sample_candidate("z", one.ids, [0.5], np.full((1, 80), 0.5)))
    assert flat.variance > 0
    none = estimate_difference(*[sample_candidate("z", one.ids, [t], np.full((1, 80), t)) for t in (0.5, 0.25)])
    assert none.interval() == (0.25, 0.25), "V = 0: the interval is D alone"
    assert (none.df, none.p_value) == (math.inf, 0.0)
    same = sample_candidate("z", one.ids, [0.5], np.full((1, 80), 0.5))
    assert estimate_difference(same, same).p_value == 1.0


def test_degrees_of_freedom_are_never_fewer_than_those_of_a_part() -> None:
    _, one = draw(3, 300, seed=11)
    _, other = draw(5, 300, seed=12)
    low, high = estimate_difference(one, one).interval()
    assert estimate_difference(one, one).df >= 2
    assert estimate_difference(one, other).df >= 2
    assert -0.1 < low < 0 < high < 0.1, "twice the same answers: by the bare formula this limit has no sense"


def test_seed_noise_widens_and_flips_do_not_count_twice() -> None:
    ids = list(map(str, range(100)))
    generator = np.random.default_rng(8)
    base = generator.normal(size=100)
    shifted = base + np.array([[-1.0], [0.0], [1.0]])
    pure = sample_candidate("x", ids, shifted.mean(axis=1), shifted)
    assert pure.seed_variance == pytest.approx(1.0)
    assert pure.flip_variance == pytest.approx(0.0, abs=1e-12)
    assert estimate_single(pure).seed_variance == pytest.approx(1 / 3)
    flips = generator.normal(size=(3, 100))
    flips -= flips.mean(axis=1, keepdims=True)
    still = sample_candidate("x", ids, flips.mean(axis=1), flips)
    assert still.excess == 0.0


def test_a_share_stays_within_0_and_1(make) -> None:
    trials = [make([0, 1] * 5, [0, 1] * 4 + [0, 0], LABELS)]
    sample = collect_sample("x", trials, LABELS, "macro_f1")
    assert sample is not None
    assert estimate_single(sample).interval()[1] == 1.0


def test_items_are_paired_by_id_not_by_place(make) -> None:
    generator = np.random.default_rng(9)
    trials = [make(generator.integers(0, 2, 30), generator.integers(0, 2, 30), LABELS, seed=s) for s in range(3)]
    straight = [collect_sample("x", trials, LABELS, metric) for metric in ("accuracy", "macro_f1", "loss")]
    order = generator.permutation(30)
    for name in ("ids", "gold", "parsed"):
        setattr(trials[1], name, [getattr(trials[1], name)[place] for place in order])
    trials[1].loss = trials[1].loss[order]
    for metric, expected in zip(("accuracy", "macro_f1", "loss"), straight, strict=True):
        moved = collect_sample("x", trials, LABELS, metric)
        assert moved is not None
        assert expected is not None
        np.testing.assert_allclose(moved.item_means, expected.item_means, atol=1e-12)
        assert moved.flip_variance == pytest.approx(expected.flip_variance)
    other = collect_sample("y", trials[1:2], LABELS, "accuracy")
    assert other is not None
    assert straight[0] is not None
    np.testing.assert_array_equal(align(other, straight[0])[order], other.item_means)


def test_other_items_are_refused(make) -> None:
    one, other = make([0, 1, 0], [0, 1, 1], LABELS), make([0, 1, 0], [0, 1, 1], LABELS)
    other.ids = ["row-0", "row-1", "new"]
    with pytest.raises(RecordError, match=r"x: its trials were not scored on the same items: got '3 and 3 items, 2 of"):
        collect_sample("x", [one, other], LABELS, "accuracy")
    first, second = (collect_sample(name, [trial], LABELS, "accuracy") for name, trial in (("x", one), ("y", other)))
    assert first is not None
    assert second is not None
    with pytest.raises(RecordError, match="x and y were not scored on the same items"):
        estimate_difference(first, second)


def test_no_interval_without_two_items_or_scores(make) -> None:
    assert collect_sample("x", [make([0], [0], LABELS)], LABELS, "accuracy") is None
    assert collect_sample("x", [make([0, 1], [0, 1], LABELS)], LABELS, "calibration_error") is None
    with pytest.raises(RecordError, match="two items"):
        sample_candidate("x", ["a"], [1.0], [[1.0]])
    with pytest.raises(RecordError, match="twice"):
        sample_candidate("x", ["a", "a"], [1.0], [[1.0, 1.0]])
    with pytest.raises(ValueError, match="shape"):
        sample_candidate("x", ["a", "b"], [1.0], [[1.0]])
