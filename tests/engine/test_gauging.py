"""Operations, kept bytes, seconds and memory of a training, foretold from a few short batches and a few steps."""

import numpy as np
import pytest
import torch
from torch import nn

from whichtune.engine.gauging import (
    Laws,
    Rates,
    Taken,
    count_laws,
    estimate_held,
    estimate_step,
    find_rates,
    find_working,
    list_states,
    take_steps,
    time_head,
)
from whichtune.engine.gauging_answers import Asked, estimate_answers, estimate_one, gauge_speech
from whichtune.engine.gauging_baselines import gauge_baseline
from whichtune.engine.gauging_features import estimate_features, gauge_passing
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.shapes import Law, Shape, shape_rows
from whichtune.engine.speaking import Opening, Speaker, read_prompts
from whichtune.engine.trial import Material
from whichtune.measure.flops import count_flops
from whichtune.measure.memory import saved_bytes
from whichtune.spec.methods import (
    FrozenFeaturesSpec,
    FullSpec,
    LastLayersSpec,
    LoraSpec,
    MajoritySpec,
    PromptTuningSpec,
)

METHODS = {
    "full": FullSpec(kind="full"),
    "lora": LoraSpec(kind="lora", dropout=0.1),
    "last-layers": LastLayersSpec(kind="last-layers"),
    "frozen-features": FrozenFeaturesSpec(kind="frozen-features"),
    "prompt-tuning": PromptTuningSpec(kind="prompt-tuning", virtual_tokens=3),
}


def count_whole(trial, rows):
    """Count one batch as it is."""
    batch = trial.material.encoded["train"].collate(rows)

    def forward():
        return trial.material.task.loss(trial.assembly(batch), batch.targets)[0]

    with trial.assembly.fitting():
        with saved_bytes(list_states(trial.assembly)) as kept:
            forward()
        return count_flops(forward, lambda loss: loss.backward()), kept.reading.value


CELLS = [("bert", name) for name in METHODS] + [("gpt2", "prompt-tuning"), ("gpt2", "full"), ("deberta-v2", "lora")]


@pytest.mark.parametrize(("family", "method"), CELLS)
def test_theory_agrees_with_the_counter(tiny_backbone, tiny_trial, family, method):
    trial = tiny_trial(tiny_backbone(family), METHODS[method])
    laws = count_laws(trial)
    assert all(tensor.grad is None for tensor in trial.assembly.attachment.trained.values())
    rows = np.arange(20)
    counted, kept = count_whole(trial, rows)
    whole = shape_rows(trial.material.encoded["train"], rows)
    assert laws.forward(whole) == pytest.approx(counted.forward, rel=0.05)
    assert laws.backward(whole) == pytest.approx(counted.backward, rel=0.05)
    assert laws.saved(whole) == pytest.approx(kept, rel=0.1)
    trial.assembly.attachment.detach()


def test_the_laws_weights_are_those_of_the_architecture(tiny_backbone, tiny_trial):
    """Two operations a weight and row forward, twice as many backward, and attention over hidden rows of each block."""
    backbone = tiny_backbone("bert")
    laws = count_laws(tiny_trial(backbone, METHODS["full"]))
    linear = sum(one.weight.numel() for one in backbone.blocks.modules() if isinstance(one, nn.Linear))
    attention = 4 * backbone.hidden * len(backbone.blocks)
    assert laws.forward.weights[0] == pytest.approx(2 * linear, rel=1e-4)
    assert laws.backward.weights[0] == pytest.approx(4 * linear, rel=1e-4)
    assert laws.forward.weights[1] == pytest.approx(attention, rel=1e-3)
    frozen = count_laws(tiny_trial(backbone, METHODS["frozen-features"]))
    assert frozen.backward.weights[0] == pytest.approx(0, abs=1)


def test_recomputed_blocks_count_as_backward(tiny_backbone, tiny_trial):
    backbone = tiny_backbone("bert")
    plain = count_laws(tiny_trial(backbone, METHODS["full"]))
    again = count_laws(tiny_trial(backbone, METHODS["full"], gradient_checkpointing=True))
    batch = Shape(8, 20, 8)
    assert again.backward(batch) == pytest.approx(plain.backward(batch) + plain.forward(batch), rel=0.05)
    assert again.saved(batch) < plain.saved(batch)


def test_five_steps_give_rates(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone("bert"), METHODS["lora"])
    taken = take_steps(trial)
    assert len(taken.seconds) == len(taken.steps) == 5
    rates = find_rates(trial, count_laws(trial), taken)
    assert min(vars(rates).values()) > 0
    trial.assembly.attachment.detach()


def test_seconds_are_operations_over_rates():
    """Two batches of 6 hidden rows: 60 operations forward at 10 a second, 120 backward at 40, 7 trained numbers."""
    forward, backward = (Law((weight, 0.0, 0.0, 0.0, 0.0)) for weight in (5.0, 10.0))
    rates = Rates(forward=10, backward=40, predicting=1, alone=1, update_seconds=0.5)
    step = [Shape(2, 3, 2), Shape(3, 2, 3)]
    assert estimate_step(Laws(forward, backward, forward, None), step, rates, 7) == 6 + 3 + 3.5


def test_a_head_is_timed_over_features_alone(tiny_backbone, tiny_trial, monkeypatch):
    trial = tiny_trial(tiny_backbone("bert"), METHODS["frozen-features"])
    encoded = trial.material.encoded["train"]
    monkeypatch.setattr(type(trial.assembly.backbone), "run", None)
    assert time_head(trial, trial.assembly.backbone.hidden) > 0
    assert trial.material.encoded["train"] is encoded


@pytest.mark.parametrize(
    ("accumulates", "working", "held"), [(False, 50, 8_000 + 4_000), (False, 9_000, 17_000), (True, 9_000, 21_000)]
)
def test_gradients_take_the_place_of_kept_rows(accumulates, working, held):
    assert estimate_held(1_000, working, accumulates=accumulates) == held


@pytest.mark.parametrize(
    ("before", "peak", "times"),
    [(10, 10 + 8 + 25, (2.5, 0)), (10, 11, (1.0, 0)), (10, 10 + 8 + 90, (4.0, 50)), (None, 50, None)],
)
def test_working_memory_is_measured_against_what_is_kept(before, peak, times):
    nothing, ten = Law((0.0,) * 5), Law((0.0, 0.0, 0.0, 10.0, 0.0))
    taken = Taken([1.0], [[Shape(2, 3, 2)]], before, peak)
    assert find_working(taken, Laws(nothing, nothing, nothing, ten), 1) == times


def test_distinct_rows_pass_once(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone("bert"), METHODS["frozen-features"])
    encoded = trial.material.encoded["train"]
    passing = gauge_passing(trial.assembly, encoded, 8, "float32")
    rows = encoded.take(np.arange(6))
    twice = encoded.take(np.resize(np.arange(6), 12))
    once, again = (estimate_features(passing, {"train": one}, 8) for one in (rows, twice))
    assert once == again
    with torch.no_grad():
        counted = count_flops(lambda: trial.assembly.pool(rows.collate(range(6)))).forward
    assert once[1] == pytest.approx(counted, rel=0.01)
    assert once[0] == pytest.approx(once[1] / passing[None].rate)


@pytest.fixture(scope="module")
def speech(tiny_backbone, tiny_data, ask_in_words):
    backbone = tiny_backbone("gpt2")
    encoded = ask_in_words().encode(tiny_data.examples["validation"], backbone.encoder, 64)
    speaker = Speaker(backbone, Arithmetic("float32", torch.device("cpu")))
    return speaker, encoded.prompts(), gauge_speech(speaker, encoded.prompts())


def test_reading_is_counted_as_it_is(speech):
    speaker, prompts, rates = speech
    with torch.no_grad():
        counted = count_flops(lambda: read_prompts(speaker, prompts, range(16), Opening(0))).forward
    assert rates.read(16, int(prompts.lengths.max())) == pytest.approx(counted, rel=0.05)
    assert rates.score_operations == 2 * speaker.backbone.hidden * speaker.backbone.config["vocab_size"]


def test_what_is_asked_more_takes_longer(speech):
    _, prompts, rates = speech
    bare = Asked(prompts, 8)
    alone = estimate_answers(rates, bare)[0]
    assert alone > 0
    written = np.full(len(prompts), 5)
    for more in ({"written": written}, {"words": (3, 2)}, {"golds": written}, {"front": 4}):
        assert estimate_answers(rates, Asked(prompts, 8, **more))[0] > alone, more
    assert estimate_one(rates, Asked(prompts, 8, written)) > estimate_one(rates, bare) > 0


def test_a_baseline_is_timed_on_some_rows(tiny_data, tiny_task, monkeypatch):
    monkeypatch.setattr("whichtune.engine.gauging_baselines.TRIED_ROWS", 4)
    took = gauge_baseline(MajoritySpec(kind="majority"), Material(tiny_task, tiny_data))
    assert min(took.fitting, took.validation, took.test) > 0
    assert took.notes
