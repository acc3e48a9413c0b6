import json

import pytest
import torch

from whichtune.data.examples import Example
from whichtune.engine.adapter import AdapterCard, check_adapter, load_card, sample_logits, save_adapter
from whichtune.engine.build import build_assembly
from whichtune.errors import AdapterError, UnsupportedError
from whichtune.layers.heads import HeadRequest
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import FullSpec, LoraSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import PairClassificationSpec
from whichtune.tasks import build_task

METHOD = LoraSpec(kind="lora")


@pytest.fixture
def saved(tiny_backbone, tiny_trial, tmp_path):
    backbone = tiny_backbone()
    trial = tiny_trial(backbone, METHOD)
    spec = RandomBackbone(kind="random", config={"initializer_range": 0.2})
    card = AdapterCard(
        backbone=spec,
        weights=backbone.fingerprint,
        method=METHOD,
        task=trial.material.task.spec,
        labels=("bad", "good"),
        outputs=2,
        head_dropout=0.1,
        max_length=24,
        seed=1,
        stream=0,
    )
    save_adapter(tmp_path / "adapter", trial.assembly, card, trial.material.data.examples["test"][:2])
    trial.assembly.attachment.detach()
    return tmp_path / "adapter", backbone


def test_a_bad_adapter_leaves_the_backbone_fit_for_the_next(saved, tmp_path):
    folder, backbone = saved
    good = (folder / "adapter.safetensors").read_bytes()
    (folder / "adapter.safetensors").write_bytes(good[:100])
    with pytest.raises(AdapterError, match="cannot be read"):
        check_adapter(folder, backbone)
    (folder / "adapter.safetensors").write_bytes(good)
    assert check_adapter(folder, backbone)["ok"]


def test_an_adapter_of_pairs_proves_itself_on_pairs(tiny_backbone, tmp_path):
    backbone = tiny_backbone()
    task = PairClassificationSpec(kind="pair-classification")
    assembly = build_assembly(backbone, METHOD, HeadRequest(2), 0.1, Streams(1))
    card = AdapterCard(
        backbone=RandomBackbone(kind="random", config={"initializer_range": 0.2}),
        weights=backbone.fingerprint,
        method=METHOD,
        task=task,
        labels=("no", "yes"),
        outputs=2,
        head_dropout=0.1,
        max_length=12,
        seed=1,
        stream=0,
    )
    rows = [Example(str(n), "new", "one text", None, "o", pair=second) for n, second in enumerate(["a", "another"])]
    save_adapter(tmp_path / "pairs", assembly, card, rows)
    logits = sample_logits(assembly, build_task(task, card.labels), rows, 12)
    assembly.attachment.detach()
    stored = json.loads((tmp_path / "pairs" / "sample.json").read_text())
    assert stored["rows"] == [["one text", "a", None], ["one text", "another", None]]
    assert torch.equal(torch.tensor(stored["logits"]), logits)
    assert not torch.allclose(logits[0], logits[1])
    assert load_card(tmp_path / "pairs").task == task
    assert check_adapter(tmp_path / "pairs", backbone)["ok"]


def test_other_weights_are_refused(saved):
    folder, _ = saved
    other = load_backbone(RandomBackbone(kind="random", seed=7), LoadRequest())
    with pytest.raises(AdapterError, match="trained on weights"):
        check_adapter(folder, other)


def test_other_logits_are_noticed(saved):
    folder, backbone = saved
    sample = json.loads((folder / "sample.json").read_text())
    sample["logits"][0][0] += 1e-3
    (folder / "sample.json").write_text(json.dumps(sample))
    assert not check_adapter(folder, backbone)["ok"]


def test_weights_kept_in_half_precision_are_not_trained():
    spec = RandomBackbone(kind="random", dtype="bfloat16")
    backbone = load_backbone(spec, LoadRequest())
    with pytest.raises(UnsupportedError, match="bfloat16"):
        build_assembly(backbone, FullSpec(kind="full"), HeadRequest(2), 0.1, Streams(1))
    assert all(tensor.requires_grad for tensor in backbone.trunk.parameters())
    build_assembly(backbone, METHOD, HeadRequest(2), 0.1, Streams(1)).attachment.detach()


@pytest.fixture
def normed(tiny_backbone):
    """A backbone whose pooler ends in a batch norm."""
    backbone = tiny_backbone()
    norm = torch.nn.BatchNorm1d(32)
    backbone.trunk.pooler.norm = norm
    real = backbone.trunk.pooler.forward
    backbone.trunk.pooler.forward = lambda rows: norm(real(rows))
    return backbone, norm


def test_a_batch_norms_statistics_are_saved_and_given_back(normed, tiny_trial):
    backbone, norm = normed
    before = norm.running_mean.clone()
    trial = tiny_trial(backbone, FullSpec(kind="full"), max_steps=3)
    trial.run()
    assert "trunk.pooler.norm.running_mean" in trial.assembly.attachment.saved
    assert not torch.equal(norm.running_mean, before)
    trial.assembly.attachment.detach()
    assert torch.equal(norm.running_mean, before)


def test_a_frozen_batch_norm_does_not_move(normed, tiny_trial):
    backbone, norm = normed
    before = norm.running_mean.clone()
    tiny_trial(backbone, METHOD, max_steps=3).run()
    assert torch.equal(norm.running_mean, before)
