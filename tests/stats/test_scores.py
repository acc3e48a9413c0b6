"""Streamed scores: the same bits for any batching, and the metrics in their order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from whichtune.errors import RecordError
from whichtune.stats.metrics import CLASSIFICATION, METRICS
from whichtune.stats.scores import StreamingClassification, score_predictions

LABELS = ("a", "b", "c")


def stream(rows, cuts):
    total = StreamingClassification(len(LABELS))
    edges = [0, *sorted(cuts), len(rows)]
    for start, end in pairwise(edges):
        gold, predicted, confidence, loss = zip(*rows[start:end], strict=True) if end > start else ([], [], [], [])
        total.update(gold, predicted, confidence, loss)
    return total.scores(LABELS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-1, 2), st.floats(0, 1, width=32), st.floats(0, 30, width=32)),
        max_size=40,
    ),
    st.data(),
)
def test_any_batching_gives_the_same_bits(rows, data) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=5))
    assert stream(rows, cuts) == stream(rows, [])


def test_uneven_batches_are_no_mean_of_batch_means() -> None:
    rows = [(0, 0, 1.0, 0.0)] * 9 + [(0, 1, 1.0, 10.0)]
    scores = {value.name: value.value for value in stream(rows, [9]).metrics}
    assert scores["accuracy"] == 0.9
    assert scores["loss"] == 1.0


def test_predictions_are_scored_whole(make) -> None:
    generator = np.random.default_rng(1)
    gold, parsed = generator.integers(0, 3, 50), generator.integers(-1, 3, 50)
    scores = score_predictions(make(gold, parsed, LABELS), LABELS, "macro_f1")
    assert [value.name for value in scores.metrics] == [
        "macro_f1", "accuracy", "weighted_f1", "loss", "calibration_error",
    ]  # fmt: skip
    assert scores.metrics[1].value == accuracy_score(gold, parsed)
    assert scores.rows == 50
    assert scores.unparsed_share == (parsed == -1).mean()
    assert sum(map(sum, scores.confusion or [])) == (parsed >= 0).sum()
    assert [one.label for one in scores.classes] == list(LABELS)
    assert sum(one.support for one in scores.classes) == 50
    assert all((value.direction, value.unit) == (METRICS[value.name].direction, METRICS[value.name].unit)
               for value in scores.metrics)  # fmt: skip


def test_loss_is_scikit_learns_log_loss(make) -> None:
    generator = np.random.default_rng(2)
    shares = generator.dirichlet([1, 1, 1], 40)
    gold = generator.integers(0, 3, 40)
    predictions = make(gold, shares.argmax(1), LABELS)
    predictions.loss = -np.log(shares[np.arange(40), gold])
    scores = score_predictions(predictions, LABELS, "loss")
    assert scores.metrics[0].value == pytest.approx(log_loss(gold, shares, labels=[0, 1, 2]))


def test_no_rows_give_no_scores(make) -> None:
    scores = score_predictions(make([], [], LABELS), LABELS)
    assert [value.value for value in scores.metrics] == [None] * len(CLASSIFICATION)
    assert scores.predicted_labels == 0


def test_no_confusion_above_200_labels(make) -> None:
    labels = [str(place) for place in range(201)]
    assert score_predictions(make([0, 1], [0, 1], labels), labels).confusion is None
    assert score_predictions(make([0, 1], [0, 1], labels[:200]), labels[:200]).confusion is not None


def test_one_class_is_seen(make) -> None:
    assert score_predictions(make([0, 1, 2], [1, 1, -1], LABELS), LABELS).predicted_labels == 1


def test_an_unknown_label_is_named(make) -> None:
    predictions = make([0, 1], [0, 1], LABELS)
    predictions.parsed[1] = "z"
    with pytest.raises(RecordError, match=r"parsed answer: got 'z'; allowed: a, b, c"):
        score_predictions(predictions, LABELS)


def test_an_unknown_metric_is_named(make) -> None:
    with pytest.raises(RecordError, match="did you mean 'macro_f1'"):
        score_predictions(make([0], [0], LABELS), LABELS, "macro-f")
