"""The battery over every method on pairs of tiny encoders, one for images and one for questions."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.adapter import AdapterCard, check_adapter, save_adapter
from whichtune.engine.build import build_assembly, request_load
from whichtune.engine.encoding import encode_splits
from whichtune.engine.features import trains_head_alone, with_features
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import Material, TunerTrial, count_assembly
from whichtune.errors import UnsupportedError
from whichtune.fetch.pictures import inspect_pictures
from whichtune.measure.clock import PhaseClock
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import PairBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import VisualQuestionAnsweringSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

FAST = {"fusion_width": 16, "head_learning_rate": 2e-2}
METHODS = {
    "frozen, concat": {"kind": "frozen-features", "learning_rate": 2e-2, "fusion_width": 16},
    "frozen, mlp": {"kind": "frozen-features", "learning_rate": 2e-2, "fusion": "mlp", "fusion_width": 16},
    "frozen, product": {"kind": "frozen-features", "learning_rate": 2e-2, "fusion": "product", "fusion_width": 16},
    "last-layers": {"kind": "last-layers", "learning_rate": 3e-3} | FAST,
    "full": {"kind": "full", "learning_rate": 1e-3, "fusion": "mlp"} | FAST,
    "lora": {"kind": "lora", "learning_rate": 1e-2, "fusion": "product"} | FAST,
    "lora everywhere": {"kind": "lora", "learning_rate": 1e-2, "targets": ["all-linear"], "bias": "all"} | FAST,
    "lora, mean pooling": {"kind": "lora", "learning_rate": 1e-2, "pooling": "mean"} | FAST,
    "qlora": {"kind": "qlora", "learning_rate": 1e-2} | FAST,
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 3} | FAST,
    "p-tuning, deep": {"kind": "p-tuning", "virtual_tokens": 3, "deep": True, "encoder": "none"} | FAST,
    "peft, dora": {"kind": "peft", "tuner": "lora", "config": {"r": 4, "use_dora": True}, "learning_rate": 1e-2} | FAST,
    "peft, adalora": {"kind": "peft", "tuner": "adalora", "learning_rate": 1e-2} | FAST,
}
PAIRS = {
    "vit + bert": ("vit", "bert"),
    "resnet + bert": ("resnet", "bert"),
    "clip + clip": ("clip", "clip"),
}
NO_LINEAR = "image: its layers are convolutions: the family 'resnet' has no linear projections"
AS_MAPS = (
    "image: an image passes a resnet trunk as maps that shrink from stage to stage: nothing can stand in front of it"
)
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220)}
LABELS = ("no", "yes")


def expect(method, pair):
    """Say what a cell answers: that it runs, or which encoder it makes no sense on."""
    if pair != "resnet + bert" or METHODS[method]["kind"] in ("frozen-features", "last-layers", "full"):
        return "runs"
    return AS_MAPS if METHODS[method]["kind"] in ("prompt-tuning", "p-tuning") else NO_LINEAR


RUNNING = [(method, pair) for method in METHODS for pair in PAIRS if expect(method, pair) == "runs"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Ask of plain red and blue images whether they are red, or blue."""
    folder, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    rows = {}
    for split, size in {"train": 24, "validation": 8, "test": 8}.items():
        shown = [("red", "blue")[place % 2] for place in range(size)]
        paths = [folder / f"{split}-{place}.png" for place in range(size)]
        for path, colour in zip(paths, shown, strict=True):
            noisy = np.array(COLOURS[colour]) + draw.normal(0, 10, (16, 16, 3))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)
        words = [("red", "blue")[place // 2 % 2] for place in range(size)]
        rows[split] = tuple(
            Example(f"{split}:{place}", split, f"is it {word}?", LABELS[word == colour], path.name, image=picture)
            for place, (word, colour, path, picture) in enumerate(
                zip(words, shown, paths, inspect_pictures(paths), strict=True)
            )
        )
    return DataSet(rows, LABELS, "asked", DataReport("drawn", {}))


TASK = build_task(VisualQuestionAnsweringSpec(kind="visual-question-answering"), LABELS)


def spec_of(method):
    return TypeAdapter(MethodSpec).validate_python(METHODS[method])


def backbone_of(pair):
    image, text = ({"kind": "random", "family": family, "config": WIDE.get(family, {})} for family in PAIRS[pair])
    return PairBackbone.model_validate({"kind": "pair", "image": image, "text": text})


SLOW = {("full", "resnet + bert"): 20}
"""Cells that need more epochs: statistics of a batch norm follow its weights by a tenth a step."""
WIDE = {"vit": {"initializer_range": 0.2}, "bert": {"initializer_range": 0.2}}
"""Fields that make random weights wide enough to tell rows apart."""


@pytest.fixture(scope="module")
def assemble(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")

    def make(method, pair, seed=1, **training):
        training = TrainingSpec(**({"epochs": 4, "batch_size": 8, "max_length": 24, "head_dropout": 0.0} | training))
        backbone = load_backbone(backbone_of(pair), request_load(spec_of(method), "sdpa", "pair"))
        encoded = encode_splits(asked, TASK, backbone.reader, training.max_length, folder)
        assembly = build_assembly(backbone, spec_of(method), TASK.head(), training.head_dropout, Streams(seed))
        return TunerTrial(assembly, Material(TASK, asked, encoded), spec_of(method), training, PhaseClock(), 8)

    return make


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHICHTUNE_CACHE", str(tmp_path_factory.mktemp("pixels")))
        yield


@pytest.mark.parametrize("pair", PAIRS)
def test_what_makes_no_sense_says_on_which_encoder(pair, assemble):
    for method in METHODS:
        if expect(method, pair) != "runs":
            with pytest.raises(UnsupportedError) as caught:
                assemble(method, pair)
            assert str(caught.value) == expect(method, pair)


def outputs_of(trial, rows):
    batch = trial.material.encoded["train"].collate(rows)
    with trial.assembly.predicting(merge=False):
        return trial.assembly(batch), batch.targets


def loss_of(trial):
    total, count = trial.material.task.loss(*outputs_of(trial, range(24)))
    return float(total) / count


@pytest.mark.parametrize(("method", "pair"), RUNNING)
def test_a_cell_learns_counts_right_is_saved_and_gives_both_encoders_back(method, pair, assemble, asked, tmp_path):
    trial = assemble(method, pair)
    attachment, trunk = trial.assembly.attachment, trial.assembly.backbone.trunk
    start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
    saved = set(attachment.saved)
    attachment.detach()
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    trial = assemble(method, pair, epochs=SLOW.get((method, pair), 4))
    attachment, trunk = trial.assembly.attachment, trial.assembly.backbone.trunk
    assert set(attachment.saved) == saved
    initial = loss_of(trial)
    trial.run()
    assert loss_of(trial) < initial
    assert {name for name, one in attachment.trained.items() if not torch.equal(one, start[name])} == set(start)
    counts, why = count_assembly(trial.assembly)
    assert counts.trainable_theory == counts.trainable or (counts.trainable_theory is None and why)
    alone = torch.cat([outputs_of(trial, [row])[0] for row in range(4)])
    assert distance(outputs_of(trial, range(4))[0], alone) <= TOLERANCES["float32"]
    if attachment.merge is not None:
        with trial.assembly.predicting() as merged:
            assert merged
            together = trial.assembly(trial.material.encoded["train"].collate(range(24)))
        assert distance(together, outputs_of(trial, range(24))[0]) <= TOLERANCES["float32"]
    save(tmp_path, trial, method, pair, asked)
    attachment.detach()
    after = trunk.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    fresh = load_backbone(backbone_of(pair), request_load(spec_of(method), "sdpa", "pair"))
    assert check_adapter(tmp_path, fresh)["ok"]


def save(folder, trial, method, pair, asked):
    card = AdapterCard(
        backbone=backbone_of(pair), weights=trial.assembly.backbone.fingerprint, method=spec_of(method),
        task=TASK.spec, labels=LABELS, outputs=2, head_dropout=0.0, max_length=24, seed=1, stream=0,
    )  # fmt: skip
    save_adapter(folder, trial.assembly, card, asked.examples["test"][:3])


@pytest.mark.parametrize("method", ["lora", "frozen, mlp", "prompt-tuning"])
def test_the_same_seed_gives_the_same_answers_and_another_others(method, assemble):
    first, same, other = (assemble(method, "vit + bert", seed).run().predictions[1] for seed in (1, 1, 2))
    assert np.array_equal(first.loss, same.loss)
    assert first.parsed == same.parsed
    assert not np.array_equal(first.loss, other.loss)


@pytest.mark.parametrize("fusion", ["concat", "mlp", "product"])
@pytest.mark.parametrize("pair", PAIRS)
def test_features_of_both_give_the_training_of_both_trunks(fusion, pair, assemble, tmp_path):
    plain, featured = (assemble(f"frozen, {fusion}", pair) for _ in range(2))
    assert trains_head_alone(featured.assembly)
    featured.material = with_features(featured.assembly, featured.material, 8, "float32", tmp_path)
    (_, one), (_, other) = (trial.run().predictions for trial in (plain, featured))
    assert np.allclose(one.loss, other.loss, atol=1e-5)
    assert not trains_head_alone(assemble("lora", "vit + bert").assembly)


def test_two_halves_draw_nothing_alike(assemble):
    trial = assemble("lora", "clip + clip")
    names = [name for name in trial.assembly.attachment.trained if name.startswith("added.image.")]
    twins = [(name, name.replace("added.image.", "added.text.")) for name in names]
    trained = trial.assembly.attachment.trained
    same = [
        one for one, two in twins if two in trained and torch.equal(trained[one], trained[two]) and trained[one].any()
    ]
    assert names
    assert not same
