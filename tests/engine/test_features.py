"""Features of a frozen trunk: the same training as with the trunk at every step, and never where something moves."""

import numpy as np
import pytest

from whichtune.engine.features import find_distinct, trains_head_alone, with_features
from whichtune.engine.trial import TunerTrial
from whichtune.measure.clock import PhaseClock
from whichtune.models.encoder import TextEncoder
from whichtune.models.features import Features
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.methods import (
    FrozenFeaturesSpec,
    FullSpec,
    LastLayersSpec,
    LoraSpec,
    PromptTuningSpec,
)
from whichtune.spec.training import TrainingSpec

FROZEN = FrozenFeaturesSpec(kind="frozen-features", learning_rate=3e-2)


class Losses:
    def __init__(self):
        self.steps, self.scores = [], []

    def on_step(self, figures, total):
        self.steps.append(figures.loss)

    def on_validation(self, step, score, metrics):
        self.scores.append(score)


def run(trial, material, size=8):
    losses = Losses()
    training = TrainingSpec(epochs=3, batch_size=8, head_dropout=0.0, max_length=24, order="by-length")
    again = TunerTrial(trial.assembly, material, trial.method, training, PhaseClock(), size, (losses,))
    return again.run().predictions, losses


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "modernbert"])
def test_training_on_features_is_training_on_the_trunk(tiny_backbone, tiny_trial, tmp_path, family):
    plain, featured = (tiny_trial(tiny_backbone(family), FROZEN, head_dropout=0.0) for _ in range(2))
    assert trains_head_alone(featured.assembly)
    material = with_features(featured.assembly, featured.material, 8, "float32", tmp_path)
    assert all(isinstance(rows, Features) for rows in material.encoded.values())
    (_, tested), losses = run(plain, plain.material)
    (_, again), same = run(featured, material)
    assert np.allclose(losses.steps, same.steps, rtol=1e-5)
    assert len(set(losses.steps)) > 3
    assert tested.parsed == again.parsed
    assert np.allclose(tested.loss, again.loss, atol=1e-5)
    assert (tested.tokens_in == again.tokens_in).all()


def test_the_trunk_runs_once_over_each_distinct_row_and_never_again(tiny_backbone, tiny_trial, tmp_path):
    trial = tiny_trial(tiny_backbone("bert"), FROZEN)
    rows = []
    handle = trial.assembly.backbone.blocks[0].register_forward_hook(lambda _, __, out: rows.append(len(out)))
    material = with_features(trial.assembly, trial.material, 8, "float32", tmp_path)
    distinct = sum(len(find_distinct(one)[0]) for one in trial.material.encoded.values())
    assert sum(rows) == distinct <= 64
    run(trial, material)
    with_features(trial.assembly, trial.material, 8, "float32", tmp_path)
    assert sum(rows) == distinct
    handle.remove()


@pytest.mark.parametrize(
    "method",
    [
        FullSpec(kind="full"),
        LastLayersSpec(kind="last-layers"),
        LoraSpec(kind="lora"),
        PromptTuningSpec(kind="prompt-tuning", virtual_tokens=2),
        FrozenFeaturesSpec(kind="frozen-features", pooler=True),
    ],
)
def test_what_moves_below_the_head_is_never_kept(tiny_backbone, tiny_trial, method):
    assert not trains_head_alone(tiny_trial(tiny_backbone("bert"), method).assembly)


def test_distinct_rows_keep_first_places_and_second_texts_apart():
    encoder = TextEncoder(make_byte_tokenizer(), 259, segments=True)
    firsts, seconds = ["a", "b", "a", "a", "ab"], ["x", "y", "x", "y", ""]
    encoded = encoder.encode(firsts, np.arange(5), 16, seconds)
    distinct, places = find_distinct(encoded)
    assert places.tolist() == [0, 1, 0, 2, 3]
    for row, place in enumerate(places):
        assert distinct.row(place).tolist() == encoded.row(row).tolist()
    assert [distinct.take(np.array([3, 0])).row(place).tolist() for place in range(2)] == [
        encoded.row(4).tolist(),
        encoded.row(0).tolist(),
    ]
