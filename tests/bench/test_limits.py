import torch
from pydantic import TypeAdapter

from whichtune.bench.limits import Size, count_weights, count_work, measure_rate
from whichtune.bench.peer import Job
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import FolderBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.training import TrainingSpec

SIZE = Size(4, 1000, {"train": 100, "validation": 10, "test": 20}, {"train": 5, "validation": 1, "test": 2})


def job(epochs=2, **method):
    spec = TypeAdapter(MethodSpec).validate_python(method)
    return Job("a", spec, TrainingSpec(epochs=epochs), 1)


def test_work_by_hand():
    assert count_work([job(kind="full")], SIZE) == 1000 * (6 * 200 + 2 * 20 + 2 * 20)
    assert count_work([job(kind="lora")], SIZE) == 1000 * (4 * 200 + 2 * 20 + 2 * 20)
    prompt = job(kind="prompt-tuning", virtual_tokens=3)
    assert count_work([prompt], SIZE) == 1000 * (4 * (100 + 15) * 2 + 2 * (10 + 3) * 2 + 2 * (20 + 6))


def test_what_is_frozen_below_everything_is_run_once_for_all_trials():
    frozen = job(kind="frozen-features")
    assert count_work([frozen, frozen], SIZE) == 2 * 1000 * 130
    last = job(kind="last-layers", blocks=1)
    own = 250 * (6 * 200 + 2 * 20 + 2 * 20)
    assert count_work([last], SIZE) == 2 * 750 * 130 + own
    assert count_work([last, last, frozen], SIZE) == 2 * 1000 * 130 + 2 * own


def test_weights_are_the_matrices_of_the_blocks(bert_folder):
    backbone = load_backbone(FolderBackbone(kind="folder", path=bert_folder), LoadRequest())
    assert count_weights(backbone) == 2 * (4 * 32 * 32 + 2 * 32 * 64)


def test_a_rate_is_measured():
    assert measure_rate(torch.device("cpu")) > 1e8
