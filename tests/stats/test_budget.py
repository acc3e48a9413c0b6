"""Expected best against budget: by hand, by counting every draw, and its ends."""

from __future__ import annotations

from itertools import combinations
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.stats.budget import expected_best


def test_three_trials_by_hand() -> None:
    np.testing.assert_allclose(expected_best([0.7, 0.9, 0.8]), [0.8, (0.8 + 0.9 + 0.9) / 3, 0.9])


@given(st.lists(st.floats(-10, 1), min_size=1, max_size=7))
def test_every_draw_counted(scores) -> None:
    expected = [np.mean([max(drawn) for drawn in combinations(scores, b)]) for b in range(1, len(scores) + 1)]
    np.testing.assert_allclose(expected_best(scores), expected, atol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_it_rises_from_the_mean_to_the_best_and_ends_there(scores) -> None:
    curve = expected_best(scores)
    assert len(curve) == len(scores), "nothing beyond the trials that were run"
    assert curve[0] == pytest.approx(np.mean(scores))
    assert curve[-1] == pytest.approx(max(scores))
    assert (np.diff(curve) >= -1e-12).all()


def test_many_trials_and_bad_ones() -> None:
    curve = expected_best(np.linspace(0, 1, 500))
    assert curve[99] == pytest.approx(100 / 101 * 501 / 499 - 1 / 499, abs=1e-9)
    for bad in (nan, inf):
        with pytest.raises(ValueError, match="finite"):
            expected_best([0.5, bad])
    assert len(expected_best([])) == 0
