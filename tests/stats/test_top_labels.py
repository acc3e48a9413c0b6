"""The top-5 accuracy: a proportion like the accuracy, where there are labels enough and their ranks are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from whichtune.stats.intervals import estimate_single
from whichtune.stats.metrics import METRICS, TOP5_ACCURACY
from whichtune.stats.pseudo import psi
from whichtune.stats.samples import collect_sample
from whichtune.stats.scores import score_instruction, score_predictions

LABELS = tuple("abcdefgh")


def ranked(make, labels=LABELS, rows: int = 200, seed: int = 0):
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(len(labels)), rows)
    gold = generator.integers(len(labels), size=rows)
    table = make(gold, shares.argmax(axis=1), labels)
    own = shares[np.arange(rows), gold]
    table.gold_rank = (shares > own[:, None]).sum(axis=1).astype(np.int16)
    return table, shares, gold


def test_it_is_scikit_learns_and_stands_behind_the_accuracy(make) -> None:
    table, shares, gold = ranked(make)
    found = score_predictions(table, LABELS).metrics
    assert [one.name for one in found[:2]] == ["accuracy", "top5_accuracy"]
    assert found[1].value == pytest.approx(top_k_accuracy_score(gold, shares, k=5, labels=range(len(LABELS))))
    assert (found[1].direction, found[1].unit) == ("higher", "share")
    plain = score_predictions(make(gold, shares.argmax(axis=1), LABELS), LABELS).metrics
    assert [one for one in found if one.name != "top5_accuracy"] == plain


def test_it_is_a_proportion_with_wilsons_interval(make) -> None:
    table, _, _ = ranked(make)
    total, items = psi(table, LABELS, "top5_accuracy")
    assert set(items) == {0.0, 1.0}
    assert total == items.mean()
    sample = collect_sample("x", [table], LABELS, "top5_accuracy")
    assert sample.binary
    assert estimate_single(sample).proportion
    low, high = estimate_single(sample).interval()
    assert 0 < low < total < high < 1


@pytest.mark.parametrize("count", [2, 5])
def test_among_five_labels_it_says_nothing(make, count) -> None:
    table, _, _ = ranked(make, LABELS[:count])
    assert TOP5_ACCURACY.name not in {one.name for one in score_predictions(table, LABELS[:count]).metrics}


def test_asked_for_it_comes_first_whatever_is_known(make) -> None:
    table, _, _ = ranked(make)
    first, second, *_ = score_predictions(table, LABELS, "top5_accuracy").metrics
    assert (first.name, second.name) == ("top5_accuracy", "accuracy")
    assert first.value > second.value
    table.gold_rank = None
    assert score_predictions(table, LABELS, "top5_accuracy").metrics[0].value is None
    assert psi(table, LABELS, "top5_accuracy") is None


def test_answers_in_words_have_none(make) -> None:
    table, _, _ = ranked(make)
    assert "top5_accuracy" not in {one.name for one in score_instruction(table, LABELS).metrics}
    assert "top5_accuracy" in METRICS
