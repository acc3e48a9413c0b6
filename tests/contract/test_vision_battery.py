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
    "frozen-features": {"kind": "frozen-features", "learning_rate": 3e-2},
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
LABELS = ("disc", "square")
SIDE = 16
"""Pixels of an image a side; models size them up to their own."""
EPOCHS = 6


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
    return load_backbone(backbone_of(family), request_load(spec_of(method), "sdpa", "image"))


TASK = build_task(ImageClassificationSpec(kind="image-classification"), LABELS)


@pytest.fixture(scope="module")
def trial_of(drawn, tmp_path_factory):
    """Assemble a trial of a method on a backbone over the drawn images."""
    cache = tmp_path_factory.mktemp("cache")

    def make(backbone, method, seed=1, epochs=EPOCHS):
        training = TrainingSpec(epochs=epochs, batch_size=8, head_dropout=0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WHICHTUNE_CACHE", str(cache))
            encoded = encode_splits(drawn, TASK, backbone.reader, 16, cache)
        assembly = build_assembly(backbone, spec_of(method), TASK.head(), 0.1, Streams(seed, 0))
        return TunerTrial(assembly, Material(TASK, drawn, encoded), spec_of(method), training, PhaseClock(), 8)

    return make
