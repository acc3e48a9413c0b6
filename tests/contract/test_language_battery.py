"""Every tuner on every task that is answered in words, on tiny causal families; what each cell should answer."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine.adapter import AdapterCard, check_adapter, load_card, save_adapter
from whichtune.engine.build import build_assembly, request_load
from whichtune.engine.fit import fit
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import count_assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import HeadRequest
from whichtune.methods import TUNERS
from whichtune.models.batch import collate
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams

METHODS = {
    "full": {"kind": "full", "learning_rate": 4e-3},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-3},
    "last-layers with norm": {"kind": "last-layers", "learning_rate": 5e-3, "final_norm": True},
    "frozen-features": {"kind": "frozen-features"},
    "frozen-features with norm": {"kind": "frozen-features", "final_norm": True, "learning_rate": 3e-2},
    "lora": {"kind": "lora", "learning_rate": 1e-2},
    "lora everywhere": {
        "kind": "lora", "learning_rate": 1e-2, "targets": ["all-linear"], "bias": "all", "rslora": True,
    },
    "lora, rank above the width": {"kind": "lora", "learning_rate": 1e-3, "rank": 48, "alpha": 192},
    "qlora": {"kind": "qlora", "learning_rate": 1e-2},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 0.1},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 2e-2},
    "p-tuning, deep": {
        "kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 5e-2, "encoder": "none", "deep": True,
        "initialise": "vocabulary",
    },
    "peft, dora": {"kind": "peft", "tuner": "lora", "config": {"r": 4, "use_dora": True}, "learning_rate": 1e-2},
    "peft, ia3": {"kind": "peft", "tuner": "ia3", "learning_rate": 5e-2},
    "peft, prompt-tuning": {
        "kind": "peft", "tuner": "prompt-tuning", "config": {"num_virtual_tokens": 4}, "learning_rate": 0.1,
    },
    "prompt-tuning, deep": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 0.1, "deep": True},
}  # fmt: skip
FAMILIES = ("gpt", "gpt2", "llama")
TASKS = ("instruction-classification", "summarization", "question-answering-by-prompt")
STEPS = {"max_steps": 10, "warmup": 0}
NOTHING_LEFT = "answers are written through the backbone's own output head: with the trunk frozen nothing is left"
NO_FORMULA = {"peft, ia3", "peft, prompt-tuning", ("peft, dora", "gpt2")}
"""Methods or cells without a counting formula."""


def brief(ask_in_words, task):
    """Ask for short answers, read as they are: the tiny data's are words, where questions would want a number."""
    wording = "summaries" if task == "question-answering-by-prompt" else None
    return ask_in_words(task, wording=wording, decoding={"max_new_tokens": 5})


def expect(method, family, task):
    return NOTHING_LEFT if method == "frozen-features" else "runs"


CELLS = [(method, family, task) for method in METHODS for family in FAMILIES for task in TASKS]
TRAINED = [
    (method, family, TASKS[(at + place) % 3])
    for at, method in enumerate(METHODS)
    for place, family in enumerate(FAMILIES)
    if expect(method, family, TASKS[0]) == "runs"
]
"""Every tuner on every family, each with one of the tasks in turn: what they train on differs in its tokens alone."""


def spec_of(method, family):
    given = dict(METHODS[method])
    if family == "gpt2" and given["kind"] == "peft" and given["tuner"] != "prompt-tuning":
        given["config"] = given.get("config", {}) | {"fan_in_fan_out": True}
    return TypeAdapter(MethodSpec).validate_python(given)


def backbone_of(family):
    return RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2})


def load(method, family):
    return load_backbone(backbone_of(family), request_load(spec_of(method, family), "sdpa"))


def test_every_tuner_is_here():
    assert {TypeAdapter(MethodSpec).validate_python(given).__class__ for given in METHODS.values()} == set(TUNERS)


def test_every_cell_is_expected_to_run_or_to_say_why_not():
    running = {(method, family) for method, family, _ in TRAINED}
    for method, family, task in CELLS:
        assert (expect(method, family, task) == "runs") == ((method, family) in running)
    assert {task for *_, task in TRAINED} == set(TASKS)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_makes_no_sense_says_so(family, ask_in_words):
    for method, other, task in CELLS:
        if other == family and expect(method, family, task) != "runs":
            backbone, spec, request = load(method, family), spec_of(method, family), ask_in_words(task).head()
            with pytest.raises(UnsupportedError) as caught:
                build_assembly(backbone, spec, request, 0.0, Streams(1))
            assert str(caught.value) == expect(method, family, task)


def test_all_tasks_ask_for_the_same_head(ask_in_words):
    """What a cell does on one of them it does on all, but for the tokens it is trained on."""
    assert {ask_in_words(task).head() for task in TASKS} == {HeadRequest(0)}


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("frozen-features", "qlora")])
def test_a_family_that_scores_no_tokens_has_none_of_them(method, ask_in_words):
    with pytest.raises(UnsupportedError, match=r"the family 'bert' scores no next token|no norm after its last"):
        build_assembly(load(method, "bert"), spec_of(method, "bert"), ask_in_words().head(), 0.0, Streams(1))


@pytest.fixture(scope="module")
def trained(language_trial, ask_in_words, tmp_path_factory):
    """Give any running cell, trained once and saved."""
    folder = tmp_path_factory.mktemp("battery")

    @cache
    def train(method, family, task):
        backbone = load(method, family)
        before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
        trial = language_trial(backbone, spec_of(method, family), brief(ask_in_words, task), **STEPS)
        attachment = trial.assembly.attachment
        initial = loss_of(trial)
        start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
        run = trial.prepare()
        fit([run])
        assert run.failure is None
        place = folder / f"{method}-{family}"
        save(place, trial, spec_of(method, family), family)
        cell = {
            "losses": (initial, loss_of(trial)),
            "moved": {name for name, tensor in attachment.trained.items() if not torch.equal(tensor, start[name])},
            "declared": set(start),
            "one by one": one_by_one(trial),
            "counts": count_assembly(trial.assembly),
            "folder": place,
        }
        attachment.detach()
        after = backbone.trunk.state_dict()
        cell["given back"] = set(after) == set(before) and all(
            torch.equal(before[name], after[name]) for name in before
        )
        return cell

    return train


def outputs_of(trial, rows):
    batch = collate(trial.material.encoded["train"], rows)
    with trial.assembly.predicting(merge=False):
        return trial.assembly(batch), batch.targets


def loss_of(trial):
    total, count = trial.material.task.loss(*outputs_of(trial, range(32)))
    return float(total) / count


def one_by_one(trial):
    lengths = trial.material.encoded["train"].lengths[:6]
    assert lengths.min() < lengths.max()
    alone = torch.cat([outputs_of(trial, [row])[0] for row in range(6)])
    return distance(outputs_of(trial, range(6))[0], alone)


def save(place, trial, method, family):
    card = AdapterCard(
        backbone=backbone_of(family), weights=trial.assembly.backbone.fingerprint, method=method,
        task=trial.material.task.spec, labels=trial.material.task.labels, outputs=0, head_dropout=0.1, max_length=64,
        seed=1, stream=0,
    )  # fmt: skip
    save_adapter(place, trial.assembly, card, trial.material.data.examples["test"][:3])


@pytest.mark.parametrize("method, family, task", TRAINED)
def test_a_cell_learns_counts_right_and_gives_the_backbone_back(method, family, task, trained):
    cell = trained(method, family, task)
    before, after = cell["losses"]
    assert after < before - 0.02
    assert cell["moved"] == cell["declared"]
    assert cell["given back"]
    assert cell["one by one"] <= TOLERANCES["float32"]
    counts, why = cell["counts"]
    assert counts.head == (259 * 32 if family == "llama" else 0), "an output head that is not the token table"
    if {method, (method, family)} & NO_FORMULA:
        assert counts.trainable_theory is None
        assert "PEFT" in why or "formula" in why
    else:
        assert counts.trainable_theory == counts.trainable


@pytest.mark.parametrize("method, family, task", TRAINED[1::13])
def test_the_same_seed_gives_the_same_answers_and_another_others(method, family, task, language_trial, ask_in_words):
    asked = brief(ask_in_words, task)
    first, same, other = (
        language_trial(load(method, family), spec_of(method, family), asked, seed=seed, **STEPS).run().predictions[1]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.loss, same.loss)
    assert (first.raw, first.parsed) == (same.raw, same.parsed)
    assert not np.array_equal(first.loss, other.loss)


@pytest.mark.parametrize("method, family, task", TRAINED[::4])
def test_saved_adapters_give_the_same_scores_on_fresh_weights(method, family, task, trained):
    """A study does it in a process of its own."""
    folder = trained(method, family, task)["folder"]
    card = load_card(folder)
    assert check_adapter(folder, load_backbone(card.backbone, request_load(card.method, "sdpa")))["ok"]
    sample = json.loads((folder / "sample.json").read_text())
    assert torch.tensor(sample["logits"]).std() > 0
    assert all(gold is not None for *_, gold in sample["rows"])
