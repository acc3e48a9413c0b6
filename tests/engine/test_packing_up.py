"""Which trials share passes."""

import pytest
from pydantic import TypeAdapter, ValidationError

from whichtune.engine.packing_up import MOST_TRIALS, Packable, find_packs, limit_pack, why_alone, why_apart
from whichtune.models.backbone import LoadRequest
from whichtune.models.quantizing import Quantization
from whichtune.spec.engine import EngineSpec
from whichtune.spec.methods import MethodSpec
from whichtune.spec.training import TrainingSpec


def make(backbone="main", request=None, training=None, kind="lora", **method):
    spec = TypeAdapter(MethodSpec).validate_python({"kind": kind} | method)
    return Packable(backbone, request or LoadRequest(), spec, TrainingSpec(**(training or {})))


@pytest.mark.parametrize(
    "other",
    [
        make(rank=2, alpha=1.0, learning_rate=1e-5, dropout=0.5, rslora=True, pooling="mean"),
        make(training={"batch_size": 3, "accumulate": 2, "epochs": 9, "stopping": {"patience": 1}, "keep": "best"}),
    ],
)
def test_settings_of_a_trial_do_not_part_it_from_others(other):
    assert why_apart(make(), other) is None


@pytest.mark.parametrize(
    "other, told",
    [
        (make(backbone="other"), "backbone"),
        (make(request=LoadRequest(unpad=True)), "way of loading"),
        (make(targets=["all-linear"]), "targets"),
        (make(training={"precision": "bfloat16"}), "precision"),
        (make(training={"max_length": 64}), "max_length"),
        (make(kind="qlora", targets=["query", "value"]), "kind of method"),
        (make(kind="qlora", request=LoadRequest(quantization=Quantization())), "way of loading"),
        (make(bias="all"), "trunk"),
        (make(training={"gradient_checkpointing": True}), "gradient_checkpointing"),
        (make(request=LoadRequest(reads="image")), "texts"),
        (make(kind="full"), "frozen"),
    ],
)
def test_what_parts_two_trials_is_told(other, told):
    assert told in why_apart(make(), other)
    assert told in why_apart(other, make())


def test_alone_is_not_apart():
    assert why_alone(make(kind="prompt-tuning")) is not None
    assert why_alone(make(kind="qlora")) is None


def test_packs_hold_every_trial_once():
    trials = [make(), make(kind="full"), make(rank=2), make(backbone="b"), make(rank=4), make(backbone="b"), make()]
    assert list(find_packs(trials, 3)) == [[0, 2, 4], [1], [3, 5], [6]]
    assert list(find_packs(trials, 1)) == [[place] for place in range(7)]


def test_how_many_go_together():
    assert limit_pack("auto", "cpu") == 1
    assert limit_pack("auto", "cuda") == MOST_TRIALS
    assert limit_pack(3, "cpu") == 3
    assert limit_pack("off", "cuda") == 1


@pytest.mark.parametrize("given", ["auto", "off", 2, 9])
def test_sizes_that_can_be_asked_for(given):
    assert EngineSpec(pack=given).pack == given


@pytest.mark.parametrize("given", [1, 0, -2, True, "on", 2.5])
def test_sizes_that_cannot(given):
    with pytest.raises(ValidationError, match="whole numbers from 2 on"):
        EngineSpec(pack=given)
