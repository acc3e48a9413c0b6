"""Pseudo-values against leaving out one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from whichtune.records.predictions import Predictions
from whichtune.stats.pseudo import f1_pseudo_values, psi
from whichtune.stats.samples import collect_sample

LABELS = ("a", "b", "c", "d")


def brute(gold, parsed, labels: int, average: str):
    def score(keep):
        if not keep.any():
            return 0.0
        return f1_score(gold[keep], parsed[keep], labels=list(range(labels)), average=average, zero_division=0)

    rows = len(gold)
    whole = score(np.ones(rows, bool))
    left = np.array([score(np.arange(rows) != out) for out in range(rows)])
    return whole, rows * whole - (rows - 1) * left


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=2, max_size=14),
    st.sampled_from(["macro", "weighted"]),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_pseudo_values_are_those_of_leaving_one_out(rows, average) -> None:
    gold, parsed = (np.array(column) for column in zip(*rows, strict=True))
    whole, expected = brute(gold, parsed, 4, average)
    total, values = f1_pseudo_values(gold, parsed, 4, weighted=average == "weighted")
    assert total == pytest.approx(whole, abs=1e-12)
    np.testing.assert_allclose(values, expected, atol=1e-10)


def test_one_row_is_its_own_pseudo_value() -> None:
    for weighted in (False, True):
        total, values = f1_pseudo_values(np.array([0]), np.array([0]), 2, weighted=weighted)
        assert values.tolist() == [total]


def test_scores_of_items(make) -> None:
    predictions = make([0, 1, 2, 3], [0, 0, -1, 3], LABELS)
    mean, right = psi(predictions, LABELS, "accuracy") or (None, np.empty(0))
    assert (mean, right.tolist()) == (0.5, [1, 0, 0, 1])
    loss, values = psi(predictions, LABELS, "loss") or (0.0, np.empty(0))
    assert loss == pytest.approx(-float(np.mean(predictions.loss, dtype=np.float64)))
    np.testing.assert_array_equal(values, -predictions.loss.astype(np.float64))


def test_metrics_without_scores_of_items(make) -> None:
    predictions = make([0, 1], [0, 1], LABELS)
    assert psi(predictions, LABELS, "calibration_error") is None
    assert psi(make([], [], LABELS), LABELS, "accuracy") is None
    predictions.loss[0] = np.nan
    assert psi(predictions, LABELS, "loss") is None
    assert psi(predictions, LABELS, "likelihood_accuracy") is None


def test_scores_of_items_of_texts() -> None:
    blank = np.full(3, np.nan, np.float32)
    told = Predictions("test", ["a", "b", "c"], ["a b", "7", "x"], ["a b", None, "x y z"], blank, blank)
    for metric, expected in (
        ("exact_match", [1, 0, 0]),
        ("answer_words", [2, 0, 3]),
        ("rouge1", [1, 0, 0.5]),
        ("rougeLsum", [1, 0, 0.5]),
    ):
        mean, values = psi(told, (), metric) or (None, np.empty(0))
        assert values.tolist() == expected
        assert mean == pytest.approx(sum(expected) / 3)
    assert psi(told, (), "loss") is None


def test_scores_of_items_by_likelihood(make) -> None:
    predictions = make([0, 1, 2], [-1, -1, -1], LABELS[:3])
    predictions.probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.0, 0.1, 0.9]])
    _, right = psi(predictions, LABELS[:3], "likelihood_accuracy") or (None, np.empty(0))
    assert right.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("metric", "binary", "bounds"),
    [
        ("exact_match", True, (0, 1)),
        ("rougeL", False, (0, 1)),
        ("answer_words", False, (0, np.inf)),
        ("loss", False, (-np.inf, 0)),
    ],
)
def test_samples_of_texts(metric, binary, bounds) -> None:
    loss = np.array([0.5, 1.0, 1.5], np.float32)
    told = Predictions("test", ["a", "b", "c"], ["a", "7", "x"], ["a", None, "y"], loss, loss)
    sample = collect_sample("one", [told, told], (), metric)
    assert sample is not None
    assert (sample.binary, sample.bounds, sample.seeds) == (binary, bounds, 2)
