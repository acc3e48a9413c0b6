"""QLoRA over weights that are unpacked once is QLoRA (T1): losses of 20 steps, predictions, and a saved adapter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine.build import request_load
from whichtune.engine.fit import advance
from whichtune.layers.lora import LoraBank
from whichtune.models.backbone import LoadRequest
from whichtune.models.dequantizing import Allowance
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import FourBitLinear
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.engine import PLAIN, EngineSpec
from whichtune.spec.methods import LoraSpec, MethodSpec, QloraSpec
from whichtune.study.sharing import checksum

METHOD = {"kind": "qlora", "dropout": 0.0, "learning_rate": 1e-2, "rank": 4}
STEPS = 20
QUIET = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {},
}


class Losses(list):
    """The losses, and whether a step found a four-bit module in the trunk."""

    def __init__(self, trunk):
        self.trunk, self.packed = trunk, set()

    def on_step(self, figures, total):
        self.append(figures.loss)
        self.packed.add(any(isinstance(one, FourBitLinear) for one in self.trunk.modules()))

    def on_validation(self, step, score, metrics):
        pass


def load(family, method, engine):
    spec = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2} | QUIET[family])
    return load_backbone(spec, request_load(method, "sdpa", engine=engine))


def make_trial(tiny_trial, engine, family="bert", **settings):
    method = TypeAdapter(MethodSpec).validate_python(METHOD | settings)
    backbone = load(family, method, engine)
    sums = checksum(backbone.trunk)
    trial = tiny_trial(backbone, method, listeners=[Losses(backbone.trunk)], head_dropout=0.0, epochs=5)
    return trial, backbone, sums


def test_the_load_carries_the_switch_to_four_bit_trunks_alone():
    qlora, lora = QloraSpec(kind="qlora"), LoraSpec(kind="lora")
    assert request_load(qlora, "sdpa", engine=EngineSpec()).dequantize == Allowance(None)
    assert request_load(qlora, "sdpa", engine=EngineSpec(dequantized_bytes=7)).dequantize == Allowance(7)
    assert request_load(qlora, "sdpa", engine=EngineSpec(dequantize_once=False)).dequantize is None
    assert request_load(qlora, "sdpa", engine=PLAIN).dequantize is None
    assert request_load(qlora, "sdpa").dequantize is None
    assert request_load(lora, "sdpa", engine=EngineSpec()).dequantize is None
    assert LoadRequest().dequantize is None


@pytest.mark.parametrize(("family", "bias"), [("bert", "none"), ("gpt2", "lora-only"), ("llama", "none")])
def test_a_trial_has_the_losses_and_predictions_of_four_bits(tiny_trial, family, bias):
    outcomes, losses, saved = [], [], []
    for engine in (EngineSpec(unpad=False), PLAIN):
        trial, backbone, before = make_trial(tiny_trial, engine, family, bias=bias)
        outcomes.append(trial.run())
        (seen,) = trial.listeners
        losses.append(list(seen))
        assert seen.packed == {not outcomes[-1].dequantized}
        banks = [one for one in backbone.trunk.modules() if isinstance(one, LoraBank)]
        assert banks
        assert all(isinstance(bank.base, FourBitLinear) for bank in banks), "what is saved and checked is in four bits"
        saved.append({name: one.detach().clone() for name, one in trial.assembly.attachment.saved.items()})
        trial.assembly.attachment.detach()
        assert checksum(backbone.trunk) == before
    assert [one.dequantized for one in outcomes] == [True, False]
    assert len(losses[0]) == STEPS
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0][-1] < losses[0][0]
    for left, right in zip(*(one.predictions for one in outcomes), strict=True):
        assert np.mean([one == other for one, other in zip(left.parsed, right.parsed, strict=True)]) >= 0.995
        assert np.allclose(left.probabilities, right.probabilities, atol=1e-4)
    assert saved[0].keys() == saved[1].keys()
    matrices = [name for name in saved[0] if not name.endswith("bias")]  # a key's bias has no gradient but rounding
    assert all(torch.allclose(saved[0][name], saved[1][name], atol=1e-4) for name in matrices)


def test_answers_in_words_are_those_of_four_bits(language_trial):
    method = TypeAdapter(MethodSpec).validate_python(METHOD)
    found = []
    for engine in (EngineSpec(unpad=False), PLAIN):
        trial = language_trial(load("llama", method, engine), method, epochs=1)
        outcome = trial.run()
        assert outcome.dequantized == (engine is not PLAIN)
        found.append(outcome.predictions)
    for left, right in zip(*found, strict=True):
        assert left.raw == right.raw


def test_what_does_not_fit_runs_in_four_bits(tiny_trial):
    trial, *_ = make_trial(tiny_trial, EngineSpec(dequantized_bytes=1000))
    assert not trial.run().dequantized
    assert trial.listeners[0].packed == {True}


def test_a_failing_trial_leaves_four_bits_behind(tiny_trial):
    trial, backbone, _ = make_trial(tiny_trial, EngineSpec())

    def fail(figures, total):
        raise KeyboardInterrupt

    trial.listeners[0].on_step = fail
    with pytest.raises(KeyboardInterrupt):
        trial.run()
    assert not any(
        type(bank.base) is torch.nn.Linear for bank in backbone.trunk.modules() if isinstance(bank, LoraBank)
    )


def test_probes_step_in_four_bits(tiny_trial):
    trial, backbone, _ = make_trial(tiny_trial, PLAIN)
    advance(trial.prepare())
    assert trial.listeners[0].packed == {True}
    assert replace(backbone, dequantizes=None) == backbone
