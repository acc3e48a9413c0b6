"""Streamed scores: the same bits for any batching, and the metrics in their order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions
from whichtune.stats.metrics import CLASSIFICATION, METRICS, ROUGE, SUMMARIZATION, order_metrics
from whichtune.stats.rouge import score_rouge
from whichtune.stats.scores import (
    StreamingClassification,
    score_answers,
    score_instruction,
    score_predictions,
    score_summaries,
)

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


def values_of(scores) -> dict:
    return {one.name: one.value for one in scores.metrics}


def answered(gold, parsed, loss=None) -> Predictions:
    ids = [f"row-{place}" for place in range(len(gold))]
    losses = np.full(len(gold), np.nan, np.float32) if loss is None else np.array(loss, np.float32)
    return Predictions("test", ids, list(gold), list(parsed), np.full(len(gold), np.nan, np.float32), losses)


def test_instruction_is_scored_by_what_was_written_and_by_likelihood(make) -> None:
    predictions = make([0, 1, 2, 0], [0, -1, 1, 1], LABELS)
    predictions.probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.5, 0.4], [0.4, 0.4, 0.2]])
    scores = score_instruction(predictions, LABELS, "likelihood_accuracy")
    assert scores.metrics[0].name == "likelihood_accuracy"
    values = values_of(scores)
    assert (values["accuracy"], values["likelihood_accuracy"]) == (0.25, 0.75)
    plain = values_of(score_predictions(predictions, LABELS))
    assert values == plain | {"likelihood_accuracy": 0.75}
    assert scores.unparsed_share == 0.25
    assert list(values_of(score_instruction(predictions, LABELS))) == [*plain, "likelihood_accuracy"]


def test_without_likelihoods_there_is_no_accuracy_by_them(make) -> None:
    predictions = make([0, 1], [0, 1], LABELS)
    assert values_of(score_instruction(predictions, LABELS))["likelihood_accuracy"] is None
    predictions.probabilities = np.array([[0.5, 0.5, 0.0], [np.nan] * 3])
    assert values_of(score_instruction(predictions, LABELS))["likelihood_accuracy"] is None
    predictions.probabilities = np.ones((2, 2))
    with pytest.raises(RecordError, match="probabilities: got"):
        score_instruction(predictions, LABELS)


def test_summaries_are_scored_by_means_over_rows() -> None:
    gold, said = ["a cat sat", "the dog ran off", "it rains"], ["the cat sat", None, "it rains\nnow and then"]
    scores = score_summaries(answered(gold, said, [1.0, 2.0, 3.0]), "rouge1")
    values = values_of(scores)
    by_row = score_rouge(gold, said)
    assert [one.name for one in scores.metrics] == [
        "rouge1", "rougeL", "rouge2", "rougeLsum", "loss", "answer_words",
    ]  # fmt: skip
    for metric in ROUGE:
        assert values[metric.name] == pytest.approx(by_row[metric.name].mean())
    assert values["loss"] == 2.0
    assert values["answer_words"] == (3 + 0 + 5) / 3
    assert (scores.rows, scores.classes, scores.confusion, scores.predicted_labels) == (3, [], None, 2)
    assert scores.unparsed_share == pytest.approx(1 / 3)
    assert scores.metrics[-1].direction == "neither"


def test_answers_match_whole() -> None:
    scores = score_answers(answered(["12", "true", "b", "7"], ["12", "false", None, "7"]))
    assert values_of(scores) == {"exact_match": 0.5, "loss": None}
    assert (scores.unparsed_share, scores.predicted_labels) == (0.25, 3)
    assert score_answers(answered(["1"], ["1"], [0.5]), "loss").metrics[0].value == 0.5
    with pytest.raises(RecordError, match="without a gold answer"):
        score_answers(answered([None], ["1"]))


def test_no_texts_give_no_scores() -> None:
    for scores in (score_summaries(answered([], [])), score_answers(answered([], []))):
        assert {one.value for one in scores.metrics} == {None}
        assert (scores.rows, scores.unparsed_share) == (0, 0.0)


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(RecordError, match="allowed: rougeL, rouge1, rouge2, rougeLsum, loss"):
        order_metrics("accuracy", SUMMARIZATION)
    with pytest.raises(RecordError, match="answer_words"):
        order_metrics("answer_words", SUMMARIZATION)
