"""Training without padding is training with it (T1): losses of 20 steps, gradients, predictions of a whole trial."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from whichtune.engine.fit import accumulate, advance
from whichtune.models import backbone as backbones
from whichtune.spec.methods import MethodSpec

QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CAUSAL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
METHODS = {
    "full": {"kind": "full", "learning_rate": 1e-3},
    "last-layers": {"kind": "last-layers"},
    "frozen-features": {"kind": "frozen-features"},
    "lora": {"kind": "lora", "dropout": 0.0, "learning_rate": 1e-2},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 1e-1, "head_learning_rate": 1e-2},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "learning_rate": 1e-2, "head_learning_rate": 1e-2},
}
STEPS = 20


class Losses(list):
    def on_step(self, figures, total):
        self.append(figures.loss)

    def on_validation(self, step, score, metrics):
        pass


@pytest.fixture
def packed_passes(count_calls):
    """Count the passes without padding."""
    return count_calls(backbones, "run_packed")


@pytest.fixture(params=[False, True], ids=["whole blocks", "last block narrow"])
def make_pair(request, tiny_backbone, tiny_trial):
    """The same trial on a backbone that pads and on one that does not."""

    def make(method, family="bert", **training):
        spec = TypeAdapter(MethodSpec).validate_python(method)
        config = QUIET if family == "bert" else CAUSAL
        training = {"head_dropout": 0.0, "epochs": 4} | training
        ways = ({"unpads": False}, {"unpads": True, "narrows": request.param})
        backbones = (replace(tiny_backbone(family, **config), **way) for way in ways)
        return [tiny_trial(one, spec, listeners=[Losses()], **training) for one in backbones]

    return make


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("name", METHODS)
def test_twenty_steps_have_the_losses_of_a_padded_trunk(make_pair, packed_passes, name, family):
    losses = []
    for trial in make_pair(METHODS[name], family):
        run = trial.prepare()
        for _ in range(STEPS):
            advance(run)
        losses.append(list(trial.listeners[0]))
    assert len(packed_passes) >= STEPS / 2, "most batches have padding to leave out"
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(set(losses[0])) > 1


@pytest.mark.parametrize("name", METHODS)
def test_gradients_point_the_same_way(make_pair, packed_passes, name):
    gradients = []
    for trial in make_pair(METHODS[name]):
        run = trial.prepare()
        with run.assembly.fitting():
            accumulate(run)
        gradients.append(torch.cat([one.grad.flatten() for one in run.assembly.attachment.trained.values()]))
    assert packed_passes
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) >= 1 - 1e-6


@pytest.mark.parametrize("name", ["full", "lora", "prompt-tuning"])
def test_a_whole_trial_predicts_alike(make_pair, packed_passes, name):
    tables = [trial.run().predictions for trial in make_pair(METHODS[name])]
    assert packed_passes
    for left, right in zip(*tables, strict=True):
        assert np.mean([one == other for one, other in zip(left.parsed, right.parsed, strict=True)]) >= 0.995
        assert np.allclose(left.probabilities, right.probabilities, atol=1e-4)


def test_answers_in_words_have_the_losses_of_a_padded_trunk(tiny_backbone, language_trial, packed_passes):
    losses = []
    for ways in ({}, {"unpads": True}, {"unpads": True, "narrows": True}):
        backbone = replace(tiny_backbone("gpt2", **CAUSAL), **ways)
        trial = language_trial(backbone, METHODS["lora"], listeners=[Losses()], head_dropout=0.0)
        run = trial.prepare()
        for _ in range(6):
            advance(run)
        losses.append(list(trial.listeners[0]))
    assert packed_passes
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


def test_adapters_of_the_last_block_draw_the_masks_that_they_draw_over_all_rows(tiny_backbone, tiny_trial):
    method = METHODS["lora"] | {"dropout": 0.3, "targets": ["query", "value", "output", "mlp-in", "mlp-out"]}
    losses = []
    for narrows in (False, True):
        spec = TypeAdapter(MethodSpec).validate_python(method)
        backbone = replace(tiny_backbone("bert", **QUIET), unpads=True, narrows=narrows)
        trial = tiny_trial(backbone, spec, listeners=[Losses()], head_dropout=0.0, epochs=4)
        run = trial.prepare()
        for _ in range(STEPS):
            advance(run)
        losses.append(list(trial.listeners[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_blocks_that_are_computed_again_keep_their_padding(make_pair, packed_passes):
    trial = make_pair(METHODS["full"], gradient_checkpointing=True)[1]
    advance(trial.prepare())
    assert not packed_passes


def test_prompts_in_every_block_keep_their_padding(make_pair, packed_passes):
    method = METHODS["p-tuning"] | {"encoder": "none", "deep": True, "initialise": "vocabulary"}
    trial = make_pair(method)[1]
    advance(trial.prepare())
    assert not packed_passes
