"""Golden losses: ten steps at dropout 0, as the first version took them. A refactor gives them back within 1e-5.

They are written by `pytest tests/engine/test_golden.py --write-golden`, after a change that is meant to change them.
"""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from whichtune.engine.fit import fit
from whichtune.spec.methods import MethodSpec

FILE = Path(__file__).with_name("golden_losses.json")
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
METHODS = {
    "full": {"kind": "full", "learning_rate": 1e-3},
    "last-layers": {"kind": "last-layers"},
    "frozen-features": {"kind": "frozen-features"},
    "lora": {"kind": "lora", "dropout": 0.0, "learning_rate": 1e-2},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 1e-1, "head_learning_rate": 1e-2},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 1e-2, "head_learning_rate": 1e-2},
    "p-tuning, deep": {
        "kind": "p-tuning",
        "virtual_tokens": 4,
        "encoder": "none",
        "deep": True,
        "initialise": "vocabulary",
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
    },
}


class Losses(list):
    def on_step(self, figures, total):
        self.append(figures.loss)

    def on_validation(self, step, score, metrics):
        pass


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("method", METHODS)
def test_ten_steps_give_the_golden_losses(method, family, tiny_backbone, tiny_trial, request):
    losses = Losses()
    spec = TypeAdapter(MethodSpec).validate_python(METHODS[method])
    backbone = tiny_backbone(family, **QUIET)
    run = tiny_trial(backbone, spec, listeners=(losses,), head_dropout=0.0, epochs=9, max_steps=10).prepare()
    fit([run])
    assert run.failure is None
    if request.config.getoption("--write-golden"):
        known = json.loads(FILE.read_text()) if FILE.is_file() else {}
        FILE.write_text(json.dumps(known | {f"{method} {family}": list(losses)}, indent=1) + "\n")
    golden = json.loads(FILE.read_text())[f"{method} {family}"]
    assert list(losses) == pytest.approx(golden, rel=1e-5)
