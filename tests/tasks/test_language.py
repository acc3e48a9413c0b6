"""Tasks that are answered in words: their loss, what they refuse, and how each is scored."""

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.errors import SpecError
from whichtune.tasks.answers import Answers, tabulate_answers

GOLD = ["the cats sat on a mat", "rain fell on the town", "nothing"]
WRITTEN = ["a cat sits on the mat today", "the town was dry", ""]
ROWS = [Example(str(at), "test", "text", gold, f"o:{at}") for at, gold in enumerate(GOLD)]


def values(scores):
    return {one.name: one.value for one in scores.metrics}


def test_the_loss_is_a_sum_over_the_answers_tokens(ask_in_words):
    task = ask_in_words()
    outputs, targets = torch.randn(7, 20).half(), torch.arange(7)
    total, count = task.loss(outputs, targets)
    assert (count, task.count(targets)) == (7, 7)
    assert float(total) == pytest.approx(float(functional.cross_entropy(outputs.float(), targets, reduction="sum")))
    assert task.head().tokens


def test_what_proves_an_adapter_is_two_numbers_a_token(ask_in_words):
    outputs, targets = torch.randn(4, 20), torch.tensor([3, 0, 19, 3])
    sample = ask_in_words().sample(outputs, targets)
    assert torch.allclose(sample[:, 0] - sample[:, 1], outputs.log_softmax(1)[torch.arange(4), targets], atol=1e-6)


def test_rouge_is_that_of_the_package_by_hand(ask_in_words):
    task = ask_in_words("summarization")
    loss = np.array([1.0, 2.0, 6.0], np.float32)
    table = tabulate_answers(task.asking, "test", ROWS, Answers(WRITTEN, None, loss))
    told = values(task.evaluate(table))
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        scorer = RougeScorer([name], use_stemmer=True)
        by_hand = [scorer.score(*pair)[name].fmeasure for pair in zip(GOLD, WRITTEN, strict=True)]
        assert told[name] == pytest.approx(np.mean(by_hand)), name
        assert told["rouge1"] > 0
    assert told["loss"] == pytest.approx(3.0)
    assert next(iter(told)) == "rougeL"
    assert task.evaluate(table).unparsed_share == pytest.approx(1 / 3)


def test_answers_match_exactly_once_they_are_read(ask_in_words):
    task = ask_in_words("question-answering-by-prompt")
    rows = [Example(str(at), "test", "text", gold, f"o:{at}") for at, gold in enumerate(["7", "1,000", "3/4", "5"])]
    written = ["it is 7.", "1000 apples", "0.75", "no idea"]
    table = tabulate_answers(task.asking, "test", rows, Answers(written, None, np.ones(4, np.float32)))
    scores = task.evaluate(table)
    assert values(scores)["exact_match"] == pytest.approx(0.75)
    assert scores.unparsed_share == 0.25


def test_what_cannot_be_read_counts_as_wrong(ask_in_words):
    task = ask_in_words()
    rows = [Example(str(at), "test", "text", gold, f"o:{at}") for at, gold in enumerate(["good", "good", "bad", "bad"])]
    logs = np.log([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    table = tabulate_answers(task.asking, "test", rows, Answers(["Good!", "??", "bad", "good"], logs))
    scores = task.evaluate(table)
    assert values(scores)["accuracy"] == pytest.approx(0.5)
    assert values(scores)["likelihood_accuracy"] == pytest.approx(0.75)
    assert scores.unparsed_share == 0.25


def test_targets_are_labels_where_there_are_any(ask_in_words):
    rows = [Example("1", "test", "x", "good", "o"), Example("2", "test", "x", None, "o")]
    assert ask_in_words().targets(rows).tolist() == [1, -1]
    assert ask_in_words("summarization").targets(rows).tolist() == [-1, -1]


def test_baselines_guess_shares_or_texts(ask_in_words):
    rows = [Example("1", "test", "x", "good", "o"), Example("2", "test", "x", "bad", "o")]
    shares = ask_in_words().tabulate_guesses("test", rows, np.array([[0.25, 0.75]] * 2))
    assert (shares.parsed, shares.raw) == (["good", "good"], None)
    assert shares.loss == pytest.approx([-np.log(0.75), -np.log(0.25)])
    texts = ask_in_words("summarization").tabulate_guesses("test", rows, ["One.", "Two."])
    assert texts.parsed == texts.raw == ["One.", "Two."]


@pytest.mark.parametrize("style", ["one-shot", "few-shot"])
def test_rows_to_learn_from_have_no_examples_in_their_prompts(ask_in_words, style):
    with pytest.raises(SpecError, match=r"task\.prompt puts training rows into every prompt.*few-shot"):
        ask_in_words(prompt={"style": style})


def test_rows_to_learn_from_have_no_reasoning(ask_in_words):
    with pytest.raises(SpecError, match=r"task\.prompt.*reasoning"):
        ask_in_words(prompt={"style": "zero-shot-chain-of-thought"})


@pytest.mark.parametrize("kind", ["instruction-classification", "summarization", "question-answering-by-prompt"])
def test_a_glance_is_of_the_loss(ask_in_words, kind):
    task = ask_in_words(kind, metric="loss")
    rows = [Example("1", "test", "x", "good", "o")]
    answers = Answers(None, np.log([[0.5, 0.5]]), None) if task.labels else Answers(None, None, np.ones(1, np.float32))
    first = task.glance(tabulate_answers(task.asking, "test", rows, answers)).metrics[0]
    assert (first.name, first.direction) == ("loss", "lower")
    assert first.value == pytest.approx(np.log(2) if task.labels else 1)
    assert task.metric == "loss"
