"""What every test may lean on: one thread, no network, a tiny data set, tiny random backbones."""

import os
import random
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import settings
from pydantic import TypeAdapter

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.build import build_assembly
from whichtune.engine.encoding import encode_splits
from whichtune.engine.trial import Material, TunerTrial
from whichtune.measure.clock import PhaseClock
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import TaskSpec, TextClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

torch.set_num_threads(1)
# The same examples in every run, so that a change is to blame for what breaks; `wander` looks for new ones.
settings.register_profile("steady", derandomize=True)
settings.register_profile("wander", derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

WORDS = {"good": ["fine", "great", "lovely", "bright"], "bad": ["dull", "poor", "awful", "grim"]}


@pytest.fixture(scope="session")
def tiny_data():
    """Sixty-four texts in two classes that a tiny model can tell apart by their letters."""
    draw = random.Random(0)
    sizes = {"train": 32, "validation": 16, "test": 16}
    examples = {
        split: tuple(
            Example(
                f"{split}:{index}",
                split,
                " ".join(draw.choices(WORDS[gold], k=draw.randint(1, 6))),
                gold,
                f"tiny:{index}",
            )
            for index in range(size)
            for gold in [("good", "bad")[index % 2]]
        )
        for split, size in sizes.items()
    }
    report = DataReport("tiny", {split: {"bad": size // 2, "good": size // 2} for split, size in sizes.items()})
    return DataSet(examples, ("bad", "good"), "tiny-data", report)


@pytest.fixture(scope="session")
def tiny_task(tiny_data):
    return build_task(TextClassificationSpec(kind="text-classification"), tiny_data.labels)


@pytest.fixture(scope="session")
def tiny_backbone():
    """Make a tiny random backbone of a family; its weights are wide enough to tell texts apart."""

    def make(family="bert", **config):
        config = {"initializer_range": 0.2} | config
        return load_backbone(RandomBackbone(kind="random", family=family, config=config), LoadRequest())

    return make


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_trial(tiny_data, tiny_task, cache_folder):
    """Assemble a trial of a method on a backbone over the tiny data."""

    def make(backbone, method, seed=1, listeners=(), **training):
        training = TrainingSpec(**({"epochs": 2, "batch_size": 8, "max_length": 24} | training))
        encoded = encode_splits(tiny_data, tiny_task, backbone.encoder, training.max_length, cache_folder)
        material = Material(tiny_task, tiny_data, encoded)
        streams = Streams(seed, method.stream)
        assembly = build_assembly(backbone, method, tiny_task.head(), training.head_dropout, streams)
        return TunerTrial(assembly, material, method, training, PhaseClock(), 8, listeners)

    return make


@pytest.fixture
def count_calls(monkeypatch):
    """Wrap a function of a module, and return a list that grows by one each time it is called."""

    def wrap(module, name):
        calls, own = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: calls.append(1) or own(*given))
        return calls

    return wrap


SHORT = {"template": {"query": "{{ text }} =>", "stop": []}}
"""A prompt that is little more than its row, for models of 128 positions."""


@pytest.fixture(scope="session")
def ask_in_words():
    """Make a task that is answered in words, over a short prompt unless another is given."""

    def make(kind="instruction-classification", labels=("bad", "good"), wording=None, **settings):
        prompt = SHORT | ({} if wording is None else {"wording": wording})
        given = {"kind": kind, "prompt": prompt, "decoding": {"max_new_tokens": 6}} | settings
        return build_task(TypeAdapter(TaskSpec).validate_python(given), labels if "class" in kind else ())

    return make


@pytest.fixture(scope="session")
def language_trial(tiny_data, ask_in_words, tmp_path_factory):
    """Assemble a trial of a method on a causal backbone over the tiny data, answered in words."""
    folder = tmp_path_factory.mktemp("in-words")

    def make(backbone, method, task=None, seed=1, listeners=(), **training):
        task = task or ask_in_words()
        method = TypeAdapter(MethodSpec).validate_python(method) if isinstance(method, dict) else method
        training = TrainingSpec(**({"epochs": 2, "batch_size": 8, "max_length": 64} | training))
        encoded = encode_splits(tiny_data, task, backbone.encoder, training.max_length, folder)
        streams = Streams(seed, method.stream)
        assembly = build_assembly(backbone, method, task.head(), training.head_dropout, streams)
        return TunerTrial(assembly, Material(task, tiny_data, encoded), method, training, PhaseClock(), 8, listeners)

    return make


def pytest_addoption(parser):
    parser.addoption("--write-golden", action="store_true", help="Write the golden losses anew.")


def pytest_runtest_setup(item):
    """Give each test whole tracebacks: the command line turns them off for its process, which is the tests' here."""
    sys.tracebacklimit = 1000
