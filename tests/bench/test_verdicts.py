"""Two sides that chose their own settings, and what each calls best."""

import numpy as np

from whichtune.bench.model import Marks
from whichtune.bench.verdicts import compare_verdicts, find_best, find_open

ROWS = 400
MARGIN = 0.02


def make_marks(seed=0, **shares):
    """Three trainings of each candidate, each right on about its share of the rows."""
    draw = np.random.default_rng(seed)
    ids = tuple(map(str, range(ROWS)))
    return {
        name: Marks(ids, (draw.random((3, ROWS)) < share).astype(float), binary=True) for name, share in shares.items()
    }


def test_the_best_are_those_within_the_margin():
    means = {"a": 0.80, "b": 0.79, "c": 0.70}
    marks = {name: Marks(("x",), np.array([[mean]]), binary=True) for name, mean in means.items()}
    assert find_best(marks, MARGIN) == {"a", "b"}


def test_who_is_shown_to_lie_further_below_is_ruled_out():
    assert find_open(make_marks(a=0.9, b=0.89, c=0.5), MARGIN) == {"a", "b"}


def test_the_same_best_is_the_same_verdict():
    own, peer = make_marks(1, a=0.9, b=0.7, c=0.5), make_marks(2, a=0.9, b=0.6, c=0.6)
    same, told = compare_verdicts(own, peer, MARGIN)
    assert same
    assert told[0] == "within 2 points of the best: a; of the peer a"


def test_bests_that_have_nothing_in_common_are_other_verdicts():
    assert not compare_verdicts(make_marks(1, a=0.9, b=0.7), make_marks(2, a=0.7, b=0.9), MARGIN)[0]


def test_a_best_that_the_other_side_shows_to_be_worse_is_another_verdict():
    own = make_marks(1, a=0.9, b=0.9, c=0.5)
    peer = {"a": own["a"], "b": make_marks(3, b=0.6)["b"], "c": own["c"]}
    better = {name: Marks(one.ids, one.values.copy(), binary=True) for name, one in own.items()}
    better["b"].values[:, ROWS // 2 :] = 1.0
    better["a"] = Marks(own["a"].ids, np.clip(better["b"].values - (np.arange(ROWS) < 4), 0, 1), binary=True)
    assert "a" in find_best(better, MARGIN) & find_best(peer, MARGIN)
    assert not compare_verdicts(better, peer, MARGIN)[0], "b is ours, and far below on the other side"
