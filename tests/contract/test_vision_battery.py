"""One battery over every method on every tiny family of images; what each cell should answer is written down here."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.adapter import AdapterCard, check_adapter, save_adapter
from whichtune.engine.build import build_assembly, request_load
from whichtune.engine.encoding import encode_splits
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import Material, TunerTrial, count_assembly
from whichtune.errors import UnsupportedError
from whichtune.fetch.pictures import inspect_pictures
from whichtune.measure.clock import PhaseClock
from whichtune.methods import TUNERS
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import ImageClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

METHODS = {
    "full": {"kind": "full", "learning_rate": 3e-3},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-3},
    "last-layers with norm": {"kind": "last-layers", "learning_rate": 5e-3, "final_norm": True},
    "frozen-features": {"kind": "frozen-features", "learning_rate": 2e-2},
    "lora": {"kind": "lora", "learning_rate": 1e-2, "head_learning_rate": 3e-2},
    "lora everywhere": {
        "kind": "lora", "learning_rate": 1e-2, "targets": ["all-linear"], "bias": "all", "rslora": True,
    },
    "lora, mean pooling": {"kind": "lora", "learning_rate": 1e-2, "pooling": "mean", "bias": "lora-only"},
    "qlora": {"kind": "qlora", "learning_rate": 1e-2},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2},
    "prompt-tuning, deep": {"kind": "prompt-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2, "deep": True},
    "prompt-tuning, read virtual": {
        "kind": "prompt-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2, "read": "virtual",
    },
    "prompt-tuning, phrase": {"kind": "prompt-tuning", "initialise": "phrase", "phrase": "a photo"},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2},
    "p-tuning, deep": {
        "kind": "p-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2, "encoder": "none", "deep": True,
    },
    "peft, dora": {"kind": "peft", "tuner": "lora", "config": {"r": 4, "use_dora": True}, "learning_rate": 1e-2},
    "peft, ia3": {"kind": "peft", "tuner": "ia3", "learning_rate": 1e-2, "head_learning_rate": 3e-2},
    "peft, p-tuning": {
        "kind": "peft", "tuner": "p-tuning", "config": {"num_virtual_tokens": 4}, "head_learning_rate": 3e-2,
    },
    "peft, prompt-tuning": {"kind": "peft", "tuner": "prompt-tuning"},
    "peft, prefix-tuning": {"kind": "peft", "tuner": "prefix-tuning"},
}  # fmt: skip
FAMILIES = {
    "vit": {"initializer_range": 0.2},
    "deit": {"initializer_range": 0.2},
    "dinov2": {"initializer_range": 0.2},
    "clip_vision_model": {"initializer_range": 0.2},
    "siglip_vision_model": {},
    "swin": {"initializer_range": 0.2},
    "convnext": {"initializer_range": 0.2},
    "resnet": {},
}
"""Family to the fields that make its random weights wide enough to tell images apart."""
MAPS = {"swin", "convnext", "resnet"}
"""Families that an image passes as maps: nothing stands in front of those."""
UNNORMED = {"clip_vision_model", "convnext", "resnet"}
"""Families without a norm behind the last block; CLIP's and ConvNeXt's norm is of the pooled row, with the pooler."""
NO_FORMULA = {"peft, ia3", "peft, p-tuning"}
AS_MAPS = "an image passes a {} trunk as maps that shrink from stage to stage: nothing can stand in front of it"
IN_FRONT = "{}: an image passes a {} trunk as maps, and nothing can stand in front of those"
NO_LINEAR = "its layers are convolutions: the family 'resnet' has no linear projections"
NO_WORDS = "`initialise: phrase` starts from words, and the family '{}' reads images: leave `initialise` out"
NO_TABLE = (
    "prompt_tuning: it starts from a table of tokens, and the family '{}' reads images; "
    "`prompt-tuning` has visual prompts"
)
NO_CACHE = "prefix_tuning: {} trunks take no `past_key_values`; try `p-tuning` with `deep`"
NOT_IN_FRONT = {
    "prompt-tuning, phrase": NO_WORDS,
    "peft, prompt-tuning": NO_TABLE,
    "peft, prefix-tuning": NO_CACHE,
}
"""Methods that no image can have in front of its rows, though other rows can stand there."""


def expect(method, family):
    """Say what a cell answers: that it runs, or why not."""
    if method == "last-layers with norm" and family in UNNORMED:
        return f"`final_norm` is asked for, but a {family} trunk has no norm after its last block"
    kind, tuner = METHODS[method]["kind"], METHODS[method].get("tuner")
    if family in MAPS and (kind in ("prompt-tuning", "p-tuning") or tuner not in (None, "lora", "ia3")):
        return AS_MAPS.format(family) if tuner is None else IN_FRONT.format(tuner.replace("-", "_"), family)
    if method in NOT_IN_FRONT:
        return NOT_IN_FRONT[method].format(family)
    if family == "resnet" and kind in ("lora", "qlora", "peft"):
        return NO_LINEAR
    if family == "convnext" and method in ("lora", "lora, mean pooling", "peft, dora", "peft, ia3"):
        lacks = "key, value" if method == "peft, ia3" else "query, value"
        return f"`targets`: the family 'convnext' has no {lacks}; it has mlp-in, mlp-out"
    return "runs"


EXPECTED = {(method, family): expect(method, family) for method in METHODS for family in FAMILIES}
RUNNING = [cell for cell, answer in EXPECTED.items() if answer == "runs"]
REPEATED = [
    own[place % len(own)]
    for place, method in enumerate(METHODS)
    if (own := [cell for cell in RUNNING if cell[0] == method])
]
"""Every method on one of its families in turn."""
LABELS = ("disc", "square")
SIDE = 16
"""Pixels of an image a side; models size them up to their own."""
EPOCHS = 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draw squares and discs in noise, as files, bright on dark and anywhere."""
    folder, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    down, across = np.mgrid[:SIDE, :SIDE]
    rows = {}
    for split, size in {"train": 24, "validation": 8, "test": 8}.items():
        paths = []
        for place in range(size):
            x, y = draw.integers(5, SIDE - 5, 2)
            far = np.maximum(abs(down - y), abs(across - x)) if place % 2 else abs(down - y) + abs(across - x)
            bright = np.where(far <= 4, (230, 60)[place % 2], 20)[:, :, None] * np.array((1, 0.8, 0.9))
            noisy = np.clip(bright + draw.normal(0, 15, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            paths.append(folder / f"{split}-{place}.png")
            Image.fromarray(noisy).save(paths[-1])
        rows[split] = tuple(
            Example(f"{split}:{place}", split, "", LABELS[place % 2], paths[place].name, image=picture)
            for place, picture in enumerate(inspect_pictures(paths))
        )
    return DataSet(rows, LABELS, "drawn", DataReport("drawn", {}))


def spec_of(method):
    return TypeAdapter(MethodSpec).validate_python(METHODS[method])


def backbone_of(family):
    return RandomBackbone(kind="random", family=family, config=FAMILIES[family], image_size=32)


def load(method, family):
    """Load a tiny backbone as the method needs it; every test gives it back as it was."""
    return load_once(family, request_load(spec_of(method), "sdpa", "image"))


@cache
def load_once(family, request):
    return load_backbone(backbone_of(family), request)


TASK = build_task(ImageClassificationSpec(kind="image-classification"), LABELS)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHICHTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trial_of(drawn, tmp_path_factory):
    """Assemble a trial of a method on a backbone over the drawn images."""
    place = tmp_path_factory.mktemp("encoded")

    def make(backbone, method, seed=1):
        training = TrainingSpec(epochs=EPOCHS, batch_size=8, head_dropout=0.1, validate_every=EPOCHS * 3)
        encoded = encode_splits(drawn, TASK, backbone.reader, 16, place)
        assembly = build_assembly(backbone, spec_of(method), TASK.head(), 0.1, Streams(seed))
        return TunerTrial(assembly, Material(TASK, drawn, encoded), spec_of(method), training, PhaseClock(), 8)

    return make


@pytest.fixture(scope="module")
def trained(trial_of, tmp_path_factory):
    """Give any running cell, trained once, saved and taken off: what was seen on the way."""
    folder = tmp_path_factory.mktemp("battery")

    @cache
    def train(method, family):
        backbone = load(method, family)
        before = copy_of(backbone)
        trial = trial_of(backbone, method)
        attachment, initial = trial.assembly.attachment, loss_of(trial)
        start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
        statistics = copy_of(backbone, buffers=True)
        outcome = trial.run()
        moved = {name for name, tensor in attachment.trained.items() if not torch.equal(tensor, start[name])}
        stirred = {
            f"trunk.{name}" for name, tensor in statistics.items() if not torch.equal(buffer_of(backbone, name), tensor)
        }
        place = folder / f"{method}-{family}"
        save(place, trial, method, family)
        cell = {
            "one by one": one_by_one(trial),
            "losses": (initial, loss_of(trial)),
            "moved": moved,
            "declared": set(start),
            "stirred": stirred,
            "saved": set(attachment.saved),
            "counts": count_assembly(trial.assembly),
            "outcome": outcome,
        }
        attachment.detach()
        after = copy_of(backbone)
        same = set(after) == set(before) and all(torch.equal(before[name], after[name]) for name in before)
        hooked = any(module._forward_hooks or "forward" in vars(module) for module in backbone.trunk.modules())
        cell["given back"] = same and not hooked
        cell["checked"] = check_adapter(place, backbone)
        return cell

    return train


def copy_of(backbone, buffers=False):
    tensors = dict(backbone.trunk.named_buffers()) if buffers else backbone.trunk.state_dict()
    return {name: tensor.clone() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


def buffer_of(backbone, name):
    return dict(backbone.trunk.named_buffers())[name]


def loss_of(trial):
    batch = trial.material.encoded["train"].collate(range(24))
    with trial.assembly.predicting(merge=False):
        total, count = TASK.loss(trial.assembly(batch), batch.targets)
    return float(total) / count


def one_by_one(trial):
    """How far the logits of images in one batch are from those of each alone, in their own spread."""
    encoded = trial.material.encoded["train"]
    with trial.assembly.predicting(merge=False):
        together = trial.assembly(encoded.collate(range(6)))
        alone = torch.cat([trial.assembly(encoded.collate([row])) for row in range(6)])
    assert float(together.std()) > 0
    return distance(together, alone)


def save(place, trial, method, family):
    card = AdapterCard(
        backbone=backbone_of(family),
        weights=trial.assembly.backbone.fingerprint,
        method=spec_of(method),
        task=TASK.spec,
        labels=LABELS,
        outputs=2,
        head_dropout=0.1,
        max_length=16,
        seed=1,
        stream=0,
    )
    save_adapter(place, trial.assembly, card, trial.material.data.examples["test"][:2])


def test_every_tuner_is_here():
    assert {type(spec_of(method)) for method in METHODS} == set(TUNERS)


@pytest.mark.parametrize("method, family", [cell for cell in EXPECTED if cell not in RUNNING])
def test_what_makes_no_sense_says_so(method, family):
    with pytest.raises(UnsupportedError) as caught:
        build_assembly(load(method, family), spec_of(method), TASK.head(), 0.1, Streams(1))
    assert str(caught.value) == EXPECTED[method, family]


@pytest.mark.parametrize("method, family", RUNNING)
def test_fitting_lowers_the_loss(method, family, trained):
    before, after = trained(method, family)["losses"]
    assert after < before - 0.01, (before, after)


@pytest.mark.parametrize("method, family", RUNNING)
def test_a_batch_gives_what_each_image_gives_alone(method, family, trained):
    assert trained(method, family)["one by one"] <= TOLERANCES["float32"]


@pytest.mark.parametrize("method, family", RUNNING)
def test_declared_tensors_move_and_the_backbone_is_given_back(method, family, trained):
    cell = trained(method, family)
    assert cell["moved"] == cell["declared"]
    assert cell["given back"]


@pytest.mark.parametrize("method, family", RUNNING)
def test_statistics_of_opened_parts_alone_move_and_are_saved(method, family, trained):
    """A frozen batch norm must not move; an opened one must be kept, or the saved model would be another."""
    cell = trained(method, family)
    stirs = family == "resnet" and method in {"full", "last-layers"}
    assert bool(cell["stirred"]) == stirs
    assert cell["stirred"] == {name for name in cell["saved"] if "running_" in name or "num_batches" in name}
    if method == "last-layers":
        assert all(name.startswith("trunk.encoder.stages.1.layers.1.") for name in cell["stirred"])


@pytest.mark.parametrize("method, family", RUNNING)
def test_theory_equals_the_measured_count(method, family, trained):
    counts, why = trained(method, family)["counts"]
    if method in NO_FORMULA:
        assert counts.trainable_theory is None
        assert "PEFT" in why
    else:
        assert counts.trainable_theory == counts.trainable


@pytest.mark.parametrize("method, family", RUNNING)
def test_saved_adapters_give_the_same_logits_on_the_backbone_given_back(method, family, trained):
    assert trained(method, family)["checked"]["ok"]


@pytest.mark.parametrize("method, family", REPEATED)
def test_the_same_seed_gives_the_same_outcome_and_another_another(method, family, trained, trial_of):
    first = trained(method, family)["outcome"].predictions[1]
    starts = {}
    for seed in (2, 1):
        again = trial_of(load(method, family), method, seed=seed)
        try:
            starts[seed] = loss_of(again)
            table = again.run().predictions[1] if seed == 1 else None
        finally:
            again.assembly.attachment.detach()
    assert np.array_equal(first.probabilities, table.probabilities)
    assert np.array_equal(first.loss, table.loss)
    assert starts[1] == trained(method, family)["losses"][0]
    assert starts[1] != starts[2]
