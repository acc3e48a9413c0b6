"""From what was written or scored to predictions."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from whichtune.data.examples import Example
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import TaskSpec
from whichtune.tasks.answers import Answers, tabulate_answers, tabulate_texts
from whichtune.tasks.asking import make_asking
from whichtune.tasks.scored import KEPT_LABELS

ROWS = [Example(str(at), "test", "text", gold, f"o:{at}", group="g" if at else None) for at, gold in enumerate("ab?")]
LABELS = ("a", "b", "c")
LOGS = np.log(np.array([[0.02, 0.01, 0.01], [0.3, 0.1, 0.2], [0.1, 0.1, 0.5]]))


def asking_of(kind="instruction-classification", labels=LABELS, **settings):
    spec = TypeAdapter(TaskSpec).validate_python({"kind": kind} | settings)
    return make_asking(spec, labels if "class" in kind else (), Columns())


def test_shares_are_likelihoods_among_the_labels():
    table = tabulate_answers(asking_of(), "test", ROWS, Answers(["a", "nonsense", "B."], LOGS))
    assert np.allclose(table.probabilities, [[0.5, 0.25, 0.25], [1 / 2, 1 / 6, 1 / 3], [1 / 7, 1 / 7, 5 / 7]])
    assert table.loss[:2] == pytest.approx([-np.log(0.5), -np.log(1 / 6)])
    assert np.isnan(table.loss[2]), "its gold is no label"
    assert table.parsed == ["a", None, "b"]
    assert table.raw == ["a", "nonsense", "B."]
    assert table.confidence == pytest.approx([0.5, 0, 1 / 7]), "the share of what was answered, not of the likeliest"
    assert table.group == [None, "g", "g"]
    assert table.labels == LABELS


def test_likelihoods_far_below_zero_do_not_vanish():
    table = tabulate_answers(asking_of(), "test", ROWS[:1], Answers(None, LOGS[:1] - 2000))
    assert np.allclose(table.probabilities, [[0.5, 0.25, 0.25]])
    assert table.loss == pytest.approx([-np.log(0.5)])


@pytest.mark.parametrize("answers", [Answers(None, LOGS), Answers(["b", "b", "b"], LOGS)])
def test_the_likeliest_label_answers_where_likelihood_counts(answers):
    table = tabulate_answers(asking_of(scoring="likelihood"), "test", ROWS, answers)
    assert table.parsed == ["a", "a", "c"]
    assert table.confidence == pytest.approx(table.probabilities.max(axis=1))


def test_texts_have_the_loss_they_are_given_and_no_shares():
    loss = np.array([1.5, 2.5, np.nan], np.float32)
    table = tabulate_answers(asking_of("summarization"), "test", ROWS, Answers([" a b \n", "", "c"], None, loss))
    assert (table.parsed, table.probabilities, table.labels) == (["a b", None, "c"], None, ())
    assert np.array_equal(table.loss, loss, equal_nan=True)
    assert np.isnan(table.confidence).all(), "not known, and no 0"


def test_gold_answers_are_in_the_form_in_which_answers_are_read():
    rows = [Example("1", "test", "text", "1,200.0 km", "o:1")]
    table = tabulate_answers(asking_of("question-answering-by-prompt"), "test", rows, Answers(["so it is 1200"]))
    assert table.gold == table.parsed == ["1200"]


def test_texts_of_a_baseline_have_no_loss():
    table = tabulate_texts(asking_of("question-answering-by-prompt"), "test", ROWS[:2], ["1,000", "7"])
    assert (table.raw, table.parsed) == (["1,000", "7"], ["1000", "7"])
    assert np.isnan(table.loss).all()


def test_thousands_of_labels_keep_no_table_of_shares():
    labels = tuple(f"l{at:03d}" for at in range(KEPT_LABELS + 1))
    rows = [Example("1", "test", "text", "l002", "o:1")]
    logs = np.zeros((1, len(labels)))
    table = tabulate_answers(asking_of(labels=labels), "test", rows, Answers(["l002"], logs))
    assert table.probabilities is None
    assert table.confidence == pytest.approx([1 / len(labels)])
    assert table.loss == pytest.approx([np.log(len(labels))])
