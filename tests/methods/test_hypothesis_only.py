import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.methods.hypothesis_only import HypothesisOnly


def make(seconds, first="the same"):
    return [Example(str(n), "train", first, "x", f"f:{n}", pair=second) for n, second in enumerate(seconds)]


SECONDS = [
    "nobody sleeps",
    "a man sleeps",
    "nobody is outside",
    "a man is outside",
    "somebody sleeps",
    "no man is here",
]
TARGETS = np.array([0, 1, 0, 1, 2, 0])


def test_it_is_logistic_regression_on_words_and_word_pairs_of_the_second_text():
    shares_of = HypothesisOnly().fit(make(SECONDS), TARGETS, 3)
    words = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"\w+")
    expected = LogisticRegression(max_iter=2000).fit(words.fit_transform(SECONDS), TARGETS)
    new = ["nobody is here", "a man sleeps outside", "unknown words"]
    assert np.allclose(shares_of(make(new)), expected.predict_proba(words.transform(new)))
    assert {"a", "nobody sleeps"} <= set(words.get_feature_names_out())


def test_the_first_text_is_not_read_and_twice_is_the_same():
    one = HypothesisOnly().fit(make(SECONDS), TARGETS, 3)(make(["nobody sleeps"]))
    other = HypothesisOnly().fit(make(SECONDS, "others"), TARGETS, 3)(make(["nobody sleeps"], "and others again"))
    assert np.array_equal(one, other)
    assert one.argmax() == 0


def test_a_label_without_training_rows_gets_no_share():
    shares = HypothesisOnly().fit(make(SECONDS), np.array([0, 3, 0, 3, 3, 0]), 5)(make(["a man", "nobody"]))
    assert shares.shape == (2, 5)
    assert np.allclose(shares.sum(axis=1), 1)
    assert not shares[:, [1, 2, 4]].any()


@pytest.mark.parametrize("seconds, targets", [(["?", "!", "..."], [0, 1, 1]), (["a", "b", "c"], [1, 1, 1])])
def test_without_words_or_a_choice_the_shares_of_the_labels_are_left(seconds, targets):
    shares = HypothesisOnly().fit(make(seconds), np.array(targets), 2)(make(["a", "?"]))
    assert np.allclose(shares, [np.bincount(targets, minlength=2) / 3] * 2)


def test_a_row_without_a_second_text_is_named():
    with pytest.raises(DataError, match="f:0 has no second text"):
        HypothesisOnly().fit([Example("0", "train", "a", "x", "f:0")], np.array([0]), 2)
