import numpy as np

from whichtune.data.examples import Example
from whichtune.methods.majority import Majority


def test_it_predicts_the_labels_shares():
    shares_of = Majority().fit((), np.array([1, 1, 0, 2, 1]), 4)
    assert np.allclose(shares_of(["a", "b"]), [[0.2, 0.6, 0.2, 0.0]] * 2)


def test_where_answers_are_texts_it_gives_the_most_frequent_text():
    rows = [Example(str(at), "train", "x", gold, "o") for at, gold in enumerate(["7", "12", "12", "7", "3"])]
    assert Majority().fit(rows, np.full(5, -1), 0)(rows[:2]) == ["7", "7"], "of equally frequent ones the first"
    assert Majority().fit(rows[1:], np.full(4, -1), 0)(rows[:1]) == ["12"]
