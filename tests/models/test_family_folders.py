"""Checkpoints of every family as they stand on the hub: saved with a head, loaded as a trunk, whole or cut."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from whichtune.models.backbone import LoadRequest
from whichtune.models.families import TEXT_FAMILIES
from whichtune.models.load import load_backbone
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.backbones import FolderBackbone

IDS = torch.tensor([[0, 5, 6, 9, 2, 30, 31, 2]])


@pytest.fixture(params=sorted(set(TEXT_FAMILIES) - {"gpt"}))
def backbone(request, tiny_backbone):
    return tiny_backbone(request.param, num_hidden_layers=4)


def save(backbone, kind, folder):
    """Save the trunk's weights inside a model with a head; return the folder."""
    config = type(backbone.trunk.config)(**backbone.config)
    whole = kind.from_config(config)
    own = whole.base_model.state_dict()
    whole.base_model.load_state_dict(
        {name: tensor for name, tensor in backbone.trunk.state_dict().items() if name in own}
    )
    whole.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), pad_token="[PAD]").save_pretrained(folder)
    return folder


def load(folder, **fields):
    return load_backbone(FolderBackbone(kind="folder", path=folder, **fields), LoadRequest())


def run(backbone):
    with torch.no_grad():
        return backbone.trunk(input_ids=IDS).last_hidden_state


@pytest.mark.parametrize("classifies", [False, True])
def test_a_checkpoint_with_a_head_gives_its_trunk(classifies, backbone, tmp_path):
    language = AutoModelForMaskedLM if backbone.output is None else AutoModelForCausalLM
    kind = AutoModelForSequenceClassification if classifies else language
    loaded = load(save(backbone, kind, tmp_path))
    assert torch.equal(run(loaded), run(backbone))
    assert loaded.dimensions == backbone.dimensions
    assert loaded.anatomy == backbone.anatomy
    told = " ".join(loaded.notes)
    assert ("the weights have no pooler" in told) == (backbone.anatomy.pooler is not None and not classifies)
    assert backbone.output is None or "lm_head" not in told
    assert (loaded.output is None) == (backbone.output is None or (classifies and not backbone.output.tied))


def test_a_cut_checkpoint_is_its_first_blocks(backbone, tmp_path):
    loaded = load(save(backbone, AutoModelForSequenceClassification, tmp_path), keep_blocks=2)
    assert len(loaded.blocks) * loaded.anatomy.runs == 2
    assert not any(".2." in note or ".3." in note for note in loaded.notes), "cut tensors are not named as left over"
    rows = []
    handles = [block.register_forward_hook(lambda _, __, out: rows.append(out)) for block in backbone.blocks]
    whole = run(backbone)
    for handle in handles:
        handle.remove()
    second = rows[1][0] if isinstance(rows[1], tuple) else rows[1]
    if loaded.anatomy.final_norm is not None:
        second = backbone.module(loaded.anatomy.final_norm)(second)
    assert torch.equal(run(loaded), second)
    assert not torch.equal(whole, second)
