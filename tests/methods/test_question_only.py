import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.fetch.pictures import Picture
from whichtune.methods import BASELINES
from whichtune.methods.question_only import QuestionOnly
from whichtune.spec.methods import QuestionOnlySpec

PICTURE = Picture("a.png", "0" * 64)
QUESTIONS = [
    "Is there a red circle?",
    "Is there a blue circle?",
    "What color is the shape?",
    "What colour is the circle?",
    "What shape is there?",
    "Is a red shape there?",
]
TARGETS = np.array([0, 1, 2, 3, 4, 0])


def make(questions, picture=PICTURE):
    return [Example(str(n), "train", one, "x", f"f:{n}", image=picture) for n, one in enumerate(questions)]


def test_it_is_logistic_regression_on_words_and_word_pairs_of_the_question():
    shares_of = QuestionOnly().fit(make(QUESTIONS), TARGETS, 5)
    words = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"\w+")
    expected = LogisticRegression(max_iter=2000).fit(words.fit_transform(QUESTIONS), TARGETS)
    new = ["Is there a red shape?", "what shape", "unknown words"]
    assert np.allclose(shares_of(make(new)), expected.predict_proba(words.transform(new)))


def test_the_image_is_not_looked_at():
    one = QuestionOnly().fit(make(QUESTIONS), TARGETS, 5)(make(["Is there a red circle?"]))
    other = QuestionOnly().fit(make(QUESTIONS, None), TARGETS, 5)(make(["Is there a red circle?"], None))
    assert np.array_equal(one, other)
    assert one.argmax() == 0


def test_questions_of_drawn_shapes_reach_the_best_guess_and_no_more():
    """Answers of what-questions are a coin's, those of is-questions lean by their colour: the best guess is known."""
    generator = np.random.default_rng(0)
    colours, rows = ("red", "blue", "green"), 6000
    lean = {"red": 0.9, "blue": 0.2, "green": 0.5}
    drawn = [colours[place] for place in generator.integers(3, size=rows)]
    asks = generator.random(rows) < 0.7
    texts = [
        f"Is there a {each} shape?" if ask else "What shape is shown?" for each, ask in zip(drawn, asks, strict=True)
    ]
    yes = np.array([generator.random() < lean[each] for each in drawn])
    targets = np.where(asks, yes, 2 + generator.integers(2, size=rows)).astype(np.int64)
    shares = QuestionOnly().fit(make(texts[:4000]), targets[:4000], 4)(make(texts[4000:]))
    best = 0.7 * (0.9 + 0.8 + 0.5) / 3 + 0.3 * 0.5
    assert np.mean(shares.argmax(axis=1) == targets[4000:]) == pytest.approx(best, abs=0.03)


def test_rows_without_a_question_are_named():
    with pytest.raises(DataError, match="f:0 has no question"):
        QuestionOnly().fit(make([""]), np.array([0]), 2)


def test_without_words_the_shares_of_the_labels_are_left():
    shares = QuestionOnly().fit(make(["?", "!", "..."]), np.array([0, 1, 1]), 2)(make(["what", "?"]))
    assert np.allclose(shares, [[1 / 3, 2 / 3]] * 2)


def test_the_spec_finds_it():
    assert isinstance(BASELINES[QuestionOnlySpec], QuestionOnly)
    assert BASELINES[QuestionOnlySpec].deterministic
