"""Which trainings collapsed, and what few clean ones leave open."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from whichtune.stats.collapse import collapse_bound, count_collapsed, is_collapsed


@pytest.mark.parametrize(("trainings", "percent"), [(3, 63), (8, 31)])
def test_clean_trainings_leave_a_rate_open(trainings, percent) -> None:
    bound = collapse_bound(trainings, trainings)
    assert bound == pytest.approx(1 - 0.05 ** (1 / trainings))
    assert round(100 * bound) == percent


@pytest.mark.parametrize(("clean", "trainings"), [(2, 3), (1, 3), (7, 8), (5, 12), (11, 12)])
def test_the_bound_is_clopper_and_pearsons(clean, trainings) -> None:
    collapsed = trainings - clean
    theirs = stats.binomtest(collapsed, trainings, alternative="less").proportion_ci(0.95, method="exact")
    bound = collapse_bound(clean, trainings)
    assert bound == pytest.approx(theirs.high)
    assert stats.binom.cdf(collapsed, trainings, bound) == pytest.approx(0.05)


def test_ends_of_the_bound() -> None:
    assert collapse_bound(0, 3) == 1.0
    assert collapse_bound(0, 0) is None
    with pytest.raises(ValueError, match="4 clean ones of 3 trainings"):
        collapse_bound(4, 3)


@pytest.mark.parametrize(
    ("score", "majority", "best", "collapsed"),
    [
        (0.50, 0.50, 0.85, True),
        (0.48, 0.50, 0.85, True),
        (0.53, 0.50, 0.85, True),
        (0.54, 0.50, 0.85, False),
        (0.53, 0.50, 0.53, False),
        (0.50, 0.50, None, True),
        (0.51, 0.50, None, False),
        (0.40, 0.50, 0.45, True),
        (0.40, None, 0.9, False),
        (-2.0, -0.69, -0.3, True),
        (-0.5, -0.69, -0.3, False),
        (None, 0.5, 0.8, True),
        (math.nan, None, None, True),
        (-math.inf, -0.69, -0.3, True),
    ],
)
def test_rule(score, majority, best, collapsed) -> None:
    assert is_collapsed(score, majority, best) is collapsed


def test_counts_of_a_candidate() -> None:
    assert count_collapsed([0.85, 0.50, 0.86], 0.50) == 1
    assert count_collapsed([0.85, None, 0.86, math.nan], 0.50) == 2
    assert count_collapsed([0.5, 0.5], 0.5) == 2, "none of them got anywhere"
    assert count_collapsed([0.52, 0.52, 0.53], 0.5) == 0, "weak, but not unstable"
    assert count_collapsed([None, None], 0.5) == 2
    assert count_collapsed([0.1, 0.9], None) == 0
    assert count_collapsed([], 0.5) == 0
