"""Counts and the scores that follow from them, against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from whichtune.stats import counting
from whichtune.stats.counting import count_classes, count_confusion

CASES = {
    "balanced": (2, 400, 0.8, 0.0),
    "many classes, some without rows": (50, 60, 0.4, 0.1),
    "unreadable answers": (3, 200, 0.6, 0.4),
    "one row": (4, 1, 0.0, 0.0),
    "all right": (5, 30, 1.0, 0.0),
    "all unreadable": (3, 20, 0.5, 1.0),
    "thousands of classes": (3000, 5000, 0.5, 0.05),
}


def draw(labels: int, rows: int, hit: float, unread: float, seed: int = 3):
    generator = np.random.default_rng(seed)
    gold = (labels * generator.random(rows) ** 2).astype(int)
    guess = generator.integers(0, labels, rows)
    predicted = np.where(generator.random(rows) < hit, gold, guess)
    return gold, np.where(generator.random(rows) < unread, -1, predicted)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_scores_are_scikit_learns_with_zero_division_0(case) -> None:
    gold, predicted = draw(*case)
    every = list(range(case[0]))
    counts = count_classes(gold, predicted, case[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classes = reference.precision_recall_fscore_support(gold, predicted, labels=every, zero_division=0)
        macro = reference.f1_score(gold, predicted, labels=every, average="macro", zero_division=0)
        weighted = reference.f1_score(gold, predicted, labels=every, average="weighted", zero_division=0)
    for ours, theirs in zip((counting.precision, counting.recall, counting.f1), classes, strict=False):
        np.testing.assert_allclose(ours(counts), theirs, atol=1e-14)
    assert counts.support.tolist() == classes[3].tolist()
    assert counting.macro_f1(counts) == pytest.approx(macro, abs=1e-13)
    assert counting.weighted_f1(counts) == pytest.approx(weighted, abs=1e-13)
    assert counting.accuracy(counts) == reference.accuracy_score(gold, predicted)
    assert counts.unparsed == (predicted == -1).sum()


def test_confusion_is_scikit_learns_over_readable_answers() -> None:
    gold, predicted = draw(*CASES["unreadable answers"])
    expected = reference.confusion_matrix(gold, predicted, labels=[-1, 0, 1, 2])[1:, 1:]
    assert count_confusion(gold, predicted, 3).tolist() == expected.tolist()


def test_counts_need_no_square_of_the_labels() -> None:
    counts = count_classes([0, 99_999], [0, 5], 100_000)
    assert counts.hits.nbytes == 800_000


def test_no_rows_have_no_scores() -> None:
    counts = count_classes([], [], 3)
    assert (counting.accuracy(counts), counting.macro_f1(counts), counting.weighted_f1(counts)) == (None, None, None)


def test_a_label_without_rows_or_predictions_counts_as_0_in_the_macro_mean() -> None:
    assert counting.macro_f1(count_classes([0, 0], [0, 0], 2)) == 0.5
    assert counting.weighted_f1(count_classes([0, 0], [0, 0], 2)) == 1.0
