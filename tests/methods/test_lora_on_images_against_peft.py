"""LoRA on ViT against Hugging Face PEFT: initial tensors copied, dropout 0, ten steps of the same optimizer."""

import numpy as np
import peft
import pytest
import torch
from torch.nn import functional
from transformers import ViTForImageClassification

from whichtune.engine.build import build_assembly
from whichtune.engine.optimizing import build_optimizer
from whichtune.layers.heads import HeadRequest
from whichtune.models.backbone import LoadRequest
from whichtune.models.image_batch import ImageBatch
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import LoraSpec
from whichtune.spec.peft import PeftSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

WORDS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj", "mlp-in": "fc1", "mlp-out": "fc2"}
"""Anatomy words to the names of ViT's modules in `transformers`."""
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def load(**config):
    spec = RandomBackbone(kind="random", family="vit", config={"initializer_range": 0.2} | config)
    return load_backbone(spec, LoadRequest(reads="image"))


def draw_batch(step, size=3):
    pixels = torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(step))
    return ImageBatch(np.arange(size), pixels, torch.arange(size) % 2, layout_of(torch.full((size,), 17)))


def make_peer(backbone, before, head, targets):
    """The same trunk and head as a classifier of `transformers`, wrapped by PEFT."""
    config = backbone.trunk.config
    config.num_labels = 2
    model = ViTForImageClassification(config)
    model.vit.load_state_dict(before)
    model.classifier.load_state_dict(head.out.state_dict())
    lora = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets, modules_to_save=["classifier"])
    return peft.get_peft_model(model, lora)


def name_of_peer(name):
    """Our tensor name to PEFT's."""
    if name.startswith("head."):
        return f"base_model.model.classifier.modules_to_save.default.{name.removeprefix('head.out.')}"
    path, _, side = name.removeprefix("added.").rpartition(".")
    return f"base_model.model.vit.{path}.lora_{'A' if side == 'down' else 'B'}.default.weight"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls what transformers is about to drop
@pytest.mark.parametrize("targets", [("query", "value"), tuple(WORDS)])
def test_ten_steps_equal_peft(targets):
    backbone = load(**STILL)
    method = LoraSpec(kind="lora", rank=4, alpha=8, dropout=0.0, targets=targets)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    assembly = build_assembly(backbone, method, HeadRequest(2), 0.0, Streams(1))
    peer = make_peer(backbone, before, assembly.head, [WORDS[target] for target in targets])
    theirs, trained = dict(peer.named_parameters()), assembly.attachment.trained
    paired = {name: theirs[name_of_peer(name)] for name in trained}
    with torch.no_grad():
        for name, tensor in trained.items():
            paired[name].copy_(tensor)
    assert {id(one) for one in paired.values()} == {id(one) for one in peer.parameters() if one.requires_grad}
    training = TrainingSpec(weight_decay=0.01)
    optimizers = [build_optimizer(tensors, 1e-2, training) for tensors in (trained, paired)]
    peer.eval()  # dropout is 0; PEFT's own modules do the same in both modes
    for step in range(10):
        batch = draw_batch(step)
        with assembly.fitting():
            ours = assembly(batch)
        other = peer(pixel_values=batch.pixels).logits
        assert (ours - other).abs().max() < 1e-6
        for logits, optimizer in zip((ours, other), optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(logits, batch.targets).backward()
            optimizer.step()
    assert all((tensor - paired[name]).abs().max() < 1e-6 for name, tensor in trained.items())
    assembly.attachment.detach()
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.trunk.state_dict().items())


@pytest.mark.parametrize("words", [["query", "value"], ["all-linear"], ["mlp-out"]])
def test_words_of_the_anatomy_reach_the_modules_through_peft(words):
    """`transformers` calls ViT's projections otherwise than BERT's, and PEFT's own `query` finds none of them."""
    method = PeftSpec(kind="peft", tuner="lora", config={"target_modules": words})
    assembly = build_assembly(load(), method, HeadRequest(2), 0.0, Streams(1))
    asked = list(WORDS) if words == ["all-linear"] else words
    tails = {path.rpartition(".")[2] for path in assembly.attachment.matched}
    assert tails == {WORDS[word] for word in asked}
    assert len(assembly.attachment.matched) == 2 * len(asked)
