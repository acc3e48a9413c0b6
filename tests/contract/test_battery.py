"""One battery over every method on every tiny family; what each cell should answer is written down here."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine.adapter import AdapterCard, save_adapter
from whichtune.engine.trial import count_assembly
from whichtune.models.batch import collate
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec

METHODS = {
    "full": {"kind": "full", "learning_rate": 2e-3},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-3},
    "last-layers with norm": {"kind": "last-layers", "final_norm": True},
    "frozen-features": {"kind": "frozen-features", "learning_rate": 3e-2},
    "lora": {"kind": "lora", "learning_rate": 1e-2},
    "lora everywhere": {
        "kind": "lora",
        "learning_rate": 1e-2,
        "targets": ["all-linear"],
        "bias": "all",
        "rslora": True,
    },
    "lora, mean pooling": {"kind": "lora", "learning_rate": 1e-2, "pooling": "mean", "bias": "lora-only"},
}
NO_NORM = "`final_norm` is asked for, but a {} trunk has no norm after its last block"
FAMILIES = {"bert": True, "roberta": True, "electra": False}
"""Family to whether a counting formula is known."""
EXPECTED = {
    (method, family): NO_NORM.format(family) if method == "last-layers with norm" else "runs"
    for method in METHODS
    for family in FAMILIES
}
RUNNING = [cell for cell, answer in EXPECTED.items() if answer == "runs"]


def spec_of(method):
    return TypeAdapter(MethodSpec).validate_python(METHODS[method])


@pytest.fixture(scope="module")
def trained(tiny_backbone, tiny_trial, tmp_path_factory):
    """Every running cell, trained once and saved: the outcome, and what was seen on the way."""
    folder = tmp_path_factory.mktemp("battery")
    cells = {}
    for method, family in RUNNING:
        backbone = tiny_backbone(family)
        before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
        trial = tiny_trial(backbone, spec_of(method), epochs=6)
        initial = loss_of(trial)
        start = {name: tensor.detach().clone() for name, tensor in trial.assembly.attachment.trained.items()}
        outcome = trial.run()
        moved = {
            name for name, tensor in trial.assembly.attachment.trained.items() if not torch.equal(tensor, start[name])
        }
        place = folder / f"{method}-{family}"
        save(place, trial, method, family)
        logits = torch.tensor(json.loads((place / "sample.json").read_text())["logits"])
        cells[method, family] = {
            "losses": (initial, loss_of(trial)),
            "moved": moved,
            "declared": set(start),
            "folder": place,
            "counts": count_assembly(trial.assembly),
            "outcome": outcome,
            "logits": logits,
        }
        trial.assembly.attachment.detach()
        after = backbone.trunk.state_dict()
        cells[method, family]["given back"] = set(after) == set(before) and all(
            torch.equal(before[name], after[name]) for name in before
        )
    return cells


def loss_of(trial):
    encoded = trial.material.encoded["train"]
    batch = collate(encoded, range(len(encoded)))
    with trial.assembly.predicting(merge=False):
        total, count = trial.material.task.loss(trial.assembly(batch), batch.targets)
    return float(total) / count


def save(place, trial, method, family):
    card = AdapterCard(
        backbone=RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2}),
        weights=trial.assembly.backbone.fingerprint,
        method=spec_of(method),
        labels=trial.material.task.labels,
        outputs=2,
        head_dropout=0.1,
        max_length=24,
        seed=1,
        stream=0,
    )
    save_adapter(place, trial.assembly, card, ["fine great", "dull"])


@pytest.mark.parametrize("method, family", [cell for cell in EXPECTED if cell not in RUNNING])
def test_what_makes_no_sense_says_so(method, family, tiny_backbone, tiny_trial):
    from whichtune.errors import UnsupportedError

    with pytest.raises(UnsupportedError) as caught:
        tiny_trial(tiny_backbone(family), spec_of(method))
    assert str(caught.value) == EXPECTED[method, family]


@pytest.mark.parametrize("method, family", RUNNING)
def test_fitting_lowers_the_loss(method, family, trained):
    before, after = trained[method, family]["losses"]
    assert after < before - 0.02


@pytest.mark.parametrize("method, family", RUNNING)
def test_declared_tensors_move_and_the_backbone_is_given_back(method, family, trained):
    cell = trained[method, family]
    assert cell["moved"] == cell["declared"]
    assert cell["given back"]


@pytest.mark.parametrize("method, family", RUNNING)
def test_theory_equals_the_measured_count(method, family, trained):
    counts, why = trained[method, family]["counts"]
    if FAMILIES[family]:
        assert counts.trainable_theory == counts.trainable
    else:
        assert counts.trainable_theory is None
        assert family in why


@pytest.mark.parametrize("method, family", RUNNING)
def test_the_same_seed_gives_the_same_outcome_and_another_another(method, family, trained, tiny_backbone, tiny_trial):
    first = trained[method, family]["outcome"].predictions[1]
    same, other = (
        tiny_trial(tiny_backbone(family), spec_of(method), seed=seed, epochs=6).run().predictions[1] for seed in (1, 2)
    )
    assert np.array_equal(first.probabilities, same.probabilities)
    assert np.array_equal(first.loss, same.loss)
    assert not np.array_equal(first.probabilities, other.probabilities)


RELOAD = """
import json, sys, torch
from whichtune.engine.adapter import check_adapter, load_card
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from pathlib import Path
torch.set_num_threads(1)
answers = {}
for folder in sys.argv[1:]:
    backbone = load_backbone(load_card(Path(folder)).backbone, LoadRequest())
    answers[folder] = check_adapter(Path(folder), backbone)
print(json.dumps(answers))
"""


def test_saved_adapters_give_the_same_logits_in_a_new_process(trained):
    folders = [str(cell["folder"]) for cell in trained.values()]
    ended = subprocess.run([sys.executable, "-c", RELOAD, *folders], capture_output=True, text=True, check=True)
    answers = json.loads(ended.stdout.splitlines()[-1])
    assert {folder: answer["ok"] for folder, answer in answers.items()} == dict.fromkeys(folders, True)
    assert all(float(cell["logits"].std()) > 0 for cell in trained.values())
