"""Predictions in words: a padded batch against one row at a time, for the untouched model and for tuned ones."""

from functools import cache

import numpy as np
import pytest
import torch

from whichtune.data.examples import Example
from whichtune.engine.fit import fit
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.portions import MOST_TOKENS, group_rows
from whichtune.engine.predict import glance, predict
from whichtune.engine.speaking import Opening, Speaker, read_opening, read_prompts, score_words
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.writing import Interview, answer_in_words
from whichtune.errors import ModelError, NonFiniteError
from whichtune.measure.modes import modes
from whichtune.tasks.asking import encode_words

FAMILIES = ("gpt", "gpt2", "llama")
METHODS = {
    "lora": {"kind": "lora", "learning_rate": 1e-2, "targets": ["all-linear"]},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 0.3},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 5e-2},
    "p-tuning, deep": {
        "kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 5e-2, "encoder": "none", "deep": True,
        "initialise": "vocabulary",
    },
    "peft, lora": {"kind": "peft", "tuner": "lora", "config": {"r": 4}, "learning_rate": 1e-2},
    "peft, prompt-tuning": {
        "kind": "peft", "tuner": "prompt-tuning", "config": {"num_virtual_tokens": 4}, "learning_rate": 0.3,
    },
}  # fmt: skip
CPU = Arithmetic("float32", torch.device("cpu"))
TEXTS = ("a", "a dull and poor thing that grew longer", "bright", "it is", "nothing at all happens here, twice")
ROWS = [Example(str(at), "test", text, ("good", "bad")[at % 2], f"o:{at}") for at, text in enumerate(TEXTS)]


def tables(speaker, tasks, size):
    """What is predicted for every task, and the log-likelihoods of the first one's labels."""
    told = []
    for task in tasks:
        encoded = task.encode(ROWS, speaker.backbone.encoder, 64)
        told.append(answer_in_words(Interview(speaker, task.asking, size), "test", ROWS, encoded))
    return told, likelihoods(speaker, tasks[0], size)


def likelihoods(speaker, task, size):
    prompts = task.encode(ROWS, speaker.backbone.encoder, 64).prompts()
    words = encode_words(task.asking, speaker.backbone.encoder, ROWS[0])
    found = torch.zeros(len(ROWS), len(words), dtype=torch.float64)
    head = read_opening(speaker, prompts) if size > 1 else Opening(0)
    for rows in group_rows(prompts.lengths, size):
        found[rows] = score_words(speaker, read_prompts(speaker, prompts, rows, head), words)
    return found


def same(one, other):
    """Whether two tables and likelihoods are equal: texts exactly, numbers within the table of tolerances."""
    (ours, scores), (theirs, expected) = one, other
    assert distance(scores, expected) <= TOLERANCES["float32"]
    for left, right in zip(ours, theirs, strict=True):
        assert left.raw == right.raw
        assert left.parsed == right.parsed
        assert left.prompt_hash == right.prompt_hash
        assert left.tokens_out.tolist() == right.tokens_out.tolist()
        assert distance(torch.from_numpy(left.loss), torch.from_numpy(right.loss)) <= 2 * TOLERANCES["float32"]


@pytest.fixture(scope="module")
def tasks(ask_in_words):
    return ask_in_words(), ask_in_words("summarization")


@pytest.fixture(scope="module")
def untouched(tiny_backbone, tasks):
    """What a family's model answers before any tuning, in padded batches."""

    @cache
    def answer(family):
        backbone = tiny_backbone(family)
        with modes((), backbone.trunk), torch.no_grad():
            return tables(Speaker(backbone, CPU), tasks, 8)

    return answer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_padded_batch_answers_as_each_row_alone(method, family, tiny_backbone, language_trial, tasks, untouched):
    backbone = tiny_backbone(family)
    spec = dict(METHODS[method])
    if (method, family) == ("peft, lora", "gpt2"):  # its maps are stored the other way round, and PEFT asks
        spec["config"] = {"r": 4, "fan_in_fan_out": True}
    trial = language_trial(backbone, spec, tasks[0], max_steps=3, warmup=0)
    speaker = Speaker(backbone, CPU, trial.assembly.attachment.inputs)
    fit([trial.prepare()])
    tuned = {}
    for merge in {False, trial.assembly.attachment.merge is not None}:
        with trial.assembly.predicting(merge=merge):
            tuned[merge] = tables(speaker, tasks, 8)
            same(tuned[merge], tables(speaker, tasks, 1))
    if True in tuned:
        same(tuned[True], tuned[False])
    trial.assembly.attachment.detach()
    plain = untouched(family)
    assert plain[0][1].raw != tuned[False][0][1].raw
    assert distance(plain[1], tuned[False][1]) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_the_untouched_model_answers_in_a_batch_as_each_row_alone(family, tiny_backbone, tasks, untouched):
    backbone = tiny_backbone(family)
    with modes((), backbone.trunk), torch.no_grad():
        same(untouched(family), tables(Speaker(backbone, CPU), tasks, 1))


def test_the_columns_say_what_was_asked_and_written(tiny_backbone, ask_in_words):
    backbone, task = tiny_backbone("gpt"), ask_in_words(decoding={"max_new_tokens": 5})
    encoded = task.encode(ROWS, backbone.encoder, 64)
    table = answer_in_words(Interview(Speaker(backbone, CPU), task.asking, 2), "test", ROWS, encoded)
    assert table.ids == ["0", "1", "2", "3", "4"]
    assert table.gold == ["good", "bad", "good", "bad", "good"]
    assert table.labels == ("bad", "good")
    assert table.tokens_in.tolist() == [1 + len(f"{text} =>") for text in TEXTS], "the begin token, then bytes"
    assert (table.tokens_out <= 5).all()
    assert all(table.batch_seconds > 0)
    assert len(set(table.prompt_hash)) == len(ROWS)
    assert np.allclose(table.probabilities.sum(axis=1), 1)
    own = [table.probabilities[row, table.labels.index(gold)] for row, gold in enumerate(table.gold)]
    assert np.allclose(table.loss, -np.log(own), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_read_is_none_and_wrong_unless_likelihood_counts(tiny_backbone, ask_in_words):
    backbone = tiny_backbone("gpt")
    scores = {}
    for scoring in ("generation", "likelihood"):
        task = ask_in_words(scoring=scoring)
        encoded = task.encode(ROWS, backbone.encoder, 64)
        table = answer_in_words(Interview(Speaker(backbone, CPU), task.asking, 8), "test", ROWS, encoded)
        scores[scoring] = task.evaluate(table)
        if scoring == "generation":
            assert table.parsed == [None] * 5
            assert table.confidence.tolist() == [0] * 5
        else:
            assert table.raw is table.tokens_out is None, "the likeliest label is the answer: nothing is written"
            assert table.parsed == [table.labels[at] for at in table.probabilities.argmax(axis=1)]
            assert np.allclose(table.confidence, table.probabilities.max(axis=1))
    figures = {name: {one.name: one.value for one in told.metrics} for name, told in scores.items()}
    assert (figures["generation"]["accuracy"], scores["generation"].unparsed_share) == (0, 1)
    assert scores["likelihood"].unparsed_share == 0
    assert figures["generation"]["likelihood_accuracy"] == figures["likelihood"]["accuracy"]
    assert figures["generation"]["loss"] == figures["likelihood"]["loss"]


def test_sampled_answers_depend_on_seed_and_row_and_on_no_neighbour(tiny_backbone, ask_in_words):
    backbone, task = tiny_backbone("llama"), ask_in_words(decoding={"max_new_tokens": 8, "temperature": 1.5})
    speaker = Speaker(backbone, CPU)

    def write(rows, size, seed):
        encoded = task.encode(rows, backbone.encoder, 64)
        table = answer_in_words(Interview(speaker, task.asking, size, seed), "test", rows, encoded)
        return dict(zip(table.ids, table.raw, strict=True))

    first = write(ROWS, 8, 1)
    assert write(ROWS[::-1], 2, 1) == write(ROWS, 1, 1) == first
    assert write(ROWS[2:4], 8, 1) == {name: first[name] for name in ("2", "3")}
    assert write(ROWS, 8, 2) != first


def test_beams_and_length_settings_reach_the_writing(tiny_backbone, ask_in_words):
    backbone = tiny_backbone("gpt")
    told = {}
    for name, decoding in {
        "greedy": {"max_new_tokens": 8},
        "beams": {"max_new_tokens": 8, "beams": 3},
        "no repeats": {"max_new_tokens": 8, "no_repeat_ngram": 1},
        "longer": {"max_new_tokens": 12, "min_new_tokens": 12},
    }.items():
        task = ask_in_words("summarization", decoding=decoding)
        encoded = task.encode(ROWS, backbone.encoder, 64)
        told[name] = [
            answer_in_words(Interview(Speaker(backbone, CPU), task.asking, size), "test", ROWS, encoded)
            for size in (8, 1)
        ]
        assert told[name][0].raw == told[name][1].raw, name
    assert told["beams"][0].raw != told["greedy"][0].raw
    assert told["no repeats"][0].raw != told["greedy"][0].raw
    assert told["longer"][0].tokens_out.tolist() == [12] * 5


def test_a_text_at_which_completions_end_stops_the_writing(tiny_backbone, ask_in_words):
    backbone = tiny_backbone("gpt")
    plain = ask_in_words("summarization", decoding={"max_new_tokens": 12})
    encoded = plain.encode(ROWS, backbone.encoder, 64)
    free = answer_in_words(Interview(Speaker(backbone, CPU), plain.asking, 8), "test", ROWS, encoded)
    stop = next(text.strip()[2:4] for text in free.raw if text.strip()[2:4].isascii() and len(text.strip()) > 5)
    style = {"query": "{{ text }} =>", "stop": [stop]}
    task = ask_in_words("summarization", prompt={"template": style}, decoding={"max_new_tokens": 12})
    table = answer_in_words(Interview(Speaker(backbone, CPU), task.asking, 8), "test", ROWS, encoded)
    short = [row for row, (one, other) in enumerate(zip(table.raw, free.raw, strict=True)) if one != other]
    assert short
    for row, text in enumerate(table.raw):
        assert free.raw[row].startswith(text) or row not in short
        assert stop not in (table.parsed[row] or "")
    assert (table.tokens_out < free.tokens_out).sum() == len(short)


def test_a_glance_knows_the_loss_and_writes_nothing(tiny_backbone, language_trial, ask_in_words):
    wording = {"own_wording": {"ask": "What is said?", "parser": "text"}}
    for kind in ("instruction-classification", "summarization", "question-answering-by-prompt"):
        task = ask_in_words(kind, **({"prompt": wording} if kind.startswith("question") else {}))
        trial = language_trial(tiny_backbone("gpt"), {"kind": "lora"}, task)
        rows = (trial.material.data.examples["validation"], trial.material.encoded["validation"])
        seen = glance(trial.assembly, task, "validation", rows, 4, CPU)
        whole, _ = predict(trial.assembly, task, "validation", rows, 4, CPU)
        assert seen.raw is None
        assert seen.tokens_out is None
        assert np.array_equal(seen.loss, whole.loss)
        figures = {one.name: one.value for one in task.glance(seen).metrics}
        judged = ["likelihood_accuracy"] if task.labels else []
        assert list(figures) == ["loss", *judged], "what was not written is not known, and never 0"


def test_long_prompts_come_in_smaller_batches_and_every_row_once():
    lengths = np.array([5, MOST_TOKENS, 7, MOST_TOKENS // 2, MOST_TOKENS // 2 - 1, 1])
    groups = [rows.tolist() for rows in group_rows(lengths, 3)]
    assert groups == [[1], [3, 4], [2, 0, 5]]


def test_a_model_that_diverged_is_told(tiny_backbone, ask_in_words):
    backbone, task = tiny_backbone("gpt"), ask_in_words()
    with torch.no_grad():
        next(backbone.trunk.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        answer_in_words(
            Interview(Speaker(backbone, CPU), task.asking, 8), "test", ROWS, task.encode(ROWS, backbone.encoder, 64)
        )


def test_rows_without_an_answer_are_asked_all_the_same(tiny_backbone, ask_in_words):
    backbone = tiny_backbone("gpt")
    new = [Example(one.id, "new", one.text, None, one.origin) for one in ROWS]
    for kind in ("instruction-classification", "summarization"):
        task = ask_in_words(kind)
        interview = Interview(Speaker(backbone, CPU), task.asking, 8)
        known = answer_in_words(interview, "test", ROWS, task.encode(ROWS, backbone.encoder, 64))
        table = answer_in_words(interview, "new", new, task.encode(new, backbone.encoder, 64))
        assert (table.raw, table.prompt_hash, table.gold) == (known.raw, known.prompt_hash, [None] * 5)
        assert np.isnan(table.loss).all(), "not known, and no 0"
        assert np.isfinite(known.loss).all()
        assert table.probabilities is None or np.array_equal(table.probabilities, known.probabilities)


def test_half_precision_scores_labels_within_its_tolerance(tiny_backbone, ask_in_words):
    backbone, task = tiny_backbone("llama"), ask_in_words(labels=("bad", "good", "fair"))
    half = Speaker(backbone, Arithmetic("bfloat16", torch.device("cpu")))
    with modes((), backbone.trunk), torch.no_grad():
        whole, less = likelihoods(Speaker(backbone, CPU), task, 8), likelihoods(half, task, 8)
        assert 0 < distance(less, whole) <= TOLERANCES["bfloat16"]
        assert distance(less, likelihoods(half, task, 1)) <= TOLERANCES["bfloat16"]


def test_a_label_word_that_cannot_be_written_in_full_is_refused(tiny_backbone, ask_in_words):
    backbone, task = tiny_backbone("gpt"), ask_in_words(decoding={"max_new_tokens": 4})
    encoded = task.encode(ROWS, backbone.encoder, 64)
    with pytest.raises(ModelError, match="at least 5: the word 'good' has so many tokens"):
        answer_in_words(Interview(Speaker(backbone, CPU), task.asking, 2), "test", ROWS, encoded)
