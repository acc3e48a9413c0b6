"""Anatomy by structure: where it answers it is right, and where it cannot tell it says so."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from whichtune.errors import ModelError
from whichtune.methods.targets import resolve_targets
from whichtune.models.anatomy import WORDS
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.families import FAMILIES, describe_family
from whichtune.models.generic import UNMEASURED, find_anatomy
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "pad_token_id": 1,
}


def build(family, attention="sdpa", **fields):
    config = AutoConfig.for_model(family, **{**SIZES, **fields})
    config._attn_implementation = attention
    torch.manual_seed(0)
    return AutoModel.from_config(config).eval()


def anatomy_of(trunk):
    return find_anatomy(trunk, trunk.config.to_dict())


def paths(anatomy):
    return {word: projection.path for word, projection in anatomy.projections.items()}


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_on_the_families_of_the_table_it_agrees_with_the_table(family):
    trunk = build(family)
    found, known = anatomy_of(trunk), describe_family(trunk.config.to_dict())
    if family == "roberta":
        assert found.pooler == "pooler", "this trunk was built with one, the table's is not"
        found = dataclasses.replace(found, pooler=None, head="dense-tanh")
    assert dataclasses.replace(found, unmeasured=None) == known


def test_the_trunk_is_as_it_was_after():
    trunk = build("bert")
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    asked = {name: tensor.requires_grad for name, tensor in trunk.named_parameters()}
    anatomy_of(trunk)
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())
    assert asked == {name: tensor.requires_grad for name, tensor in trunk.named_parameters()}
    assert all(tensor.grad is None for tensor in trunk.parameters())
    assert not any(module._forward_hooks for module in trunk.modules())


def test_it_has_no_sizes_and_says_why(tiny_backbone):
    backbone = tiny_backbone("roformer")
    assert backbone.dimensions is None
    assert backbone.anatomy.unmeasured == UNMEASURED


def test_distilbert():
    found = anatomy_of(build("distilbert", hidden_dim=48))
    assert found.blocks == "transformer.layer"
    assert paths(found) == {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "mlp-in": "ffn.lin1",
        "mlp-out": "ffn.lin2",
    }
    assert (found.inert, found.pooler, found.positions) == (("attention.k_lin.bias",), None, 40)


def test_electra_projects_its_embeddings():
    found = anatomy_of(build("electra", embedding_size=16))
    assert found.embeddings == ("embeddings", "embeddings_project")


def test_mpnet_shares_a_table_of_relative_positions():
    found = anatomy_of(build("mpnet", attention="eager"))
    assert found.shared == ("encoder.relative_attention_bias",)
    assert (found.position_offset, found.positions) == (2, 38)


def test_deberta_with_relative_positions_has_a_key_bias_that_matters():
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
    found = anatomy_of(build("deberta-v2", attention="eager", **relative))
    assert found.shared == ("encoder.rel_embeddings",)
    assert found.inert == ()
    assert paths(found)["query"] == "attention.self.query_proj"
    plain = anatomy_of(build("deberta-v2", attention="eager"))
    assert plain.inert == ("attention.self.key_proj.bias",)


def test_rotated_keys_are_not_inert_and_their_fixed_table_is_unread():
    found = anatomy_of(build("roformer", attention="eager", embedding_size=32))
    assert found.inert == ()
    assert found.unread == ("encoder.embed_positions.weight",)


def test_a_norm_after_the_blocks_and_a_causal_family():
    found = anatomy_of(build("opt", ffn_dim=48, word_embed_proj_dim=32))
    assert (found.final_norm, found.pooling) == ("decoder.final_layer_norm", "last")
    assert found.positions == 40


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("albert", {"embedding_size": 16}, r"one list of equal blocks.*1 of AlbertLayerGroup, 3 runs in one pass"),
        ("modernbert", {}, r"one query projection.*attn\.Wqkv \(32 -> 96\)"),
        ("gpt2", {}, r"one query projection.*attn\.c_attn \(32 -> 96\)"),
        ("phi3", {"num_key_value_heads": 4}, r"one query projection.*qkv_proj"),
        ("xlm", {}, r"one list of equal blocks.*attentions \(3 of MultiHeadAttention"),
        ("t5", {"d_model": 32}, r"cannot be run on token ids alone"),
    ],
)
def test_what_it_cannot_tell_it_refuses(family, fields, said):
    with pytest.raises(ModelError, match=said):
        anatomy_of(build(family, attention="eager", **fields))


def test_shared_projections_that_run_twice_are_refused():
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    with pytest.raises(ModelError, match="one query projection a block, run once"):
        anatomy_of(build("deberta-v2", attention="eager", **relative))


def test_a_block_that_differs_from_the_first_is_refused():
    trunk = build("bert")
    trunk.encoder.layer[2].intermediate.dense = nn.Linear(32, 24)
    trunk.encoder.layer[2].output.dense = nn.Linear(24, 32)
    with pytest.raises(ModelError, match=r"intermediate\.dense \(32 -> 48\).* in block 2"):
        anatomy_of(trunk)


def test_a_configuration_that_counts_other_blocks_is_refused():
    trunk = build("bert")
    trunk.config.num_hidden_layers = 5
    with pytest.raises(ModelError, match=r"5 blocks, as the configuration says; seen: 3 in encoder\.layer"):
        anatomy_of(trunk)


def test_a_pooler_that_reads_other_rows_is_refused():
    trunk = build("bert")

    class Average(nn.Module):
        def forward(self, rows):
            return rows.mean(dim=1)

    trunk.pooler = Average()
    with pytest.raises(ModelError, match="a pooler that reads the first row"):
        anatomy_of(trunk)


UNLISTED = {
    "big_bird": {"attention_type": "original_full"},
    "biogpt": {},
    "data2vec-text": {},
    "ernie": {},
    "megatron-bert": {},
    "granite": {"num_key_value_heads": 2},
    "olmo2": {"num_key_value_heads": 2},
    "rembert": {},
    "roberta-prelayernorm": {},
    "roformer": {},
    "splinter": {},
    "xlm-roberta-xl": {},
}
"""Families that no table names; fields of their tiny models."""
GATED = {"granite", "olmo2"}
TEXTS = ["a fine film", "dull", "x" * 60, "nothing at all happens, twice"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", UNLISTED)
def test_a_family_of_no_table_gives_its_own_rows_in_a_padded_batch(family, side):
    assert family not in FAMILIES
    backbone = load_backbone(RandomBackbone(kind="random", family=family, config=UNLISTED[family]), LoadRequest())
    encoded = backbone.encoder.encode(TEXTS, np.zeros(len(TEXTS)), 64)
    batch = collate(encoded, range(len(TEXTS)), side=side)
    with torch.no_grad():
        hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments)
        for index in range(len(TEXTS)):
            ids = torch.from_numpy(encoded.row(index).astype(np.int64))[None]
            own = backbone.trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            assert float((hidden[index][batch.layout.real[index]] - own).abs().max() / own.std()) < 1e-5


@pytest.mark.parametrize("family", UNLISTED)
def test_lora_finds_its_targets_in_a_family_of_no_table(family):
    backbone = load_backbone(RandomBackbone(kind="random", family=family, config=UNLISTED[family]), LoadRequest())
    targets = resolve_targets(backbone, ["all-linear"])
    assert [target.word for target in targets].count("query") == len(backbone.blocks) == 2
    words = tuple(backbone.anatomy.projections)
    assert words == WORDS + (("mlp-gate",) if family in GATED else ())
    assert len(targets) == 2 * len(words) == len({target.path for target in targets})
    assert all(isinstance(backbone.module(target.path), nn.Linear) for target in targets)


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("nystromformer", "with padding on the right, its hidden rows differ from the family's own forward"),
        ("mra", "rows that look at each other"),
        ("esm", "without padding, its hidden rows differ"),
        ("canine", "no plain token table"),
        ("ibert", "no plain token table: got 'QuantEmbedding'"),
        ("fnet", "one query projection a block"),
        ("longformer", "one norm between the last block and the hidden rows"),
    ],
)
def test_a_family_that_cannot_be_run_our_way_is_refused(family, said):
    with pytest.raises(ModelError, match=said):
        load_backbone(RandomBackbone(kind="random", family=family), LoadRequest())


def test_in_half_precision_the_answer_is_the_same():
    trunk = build("distilbert", hidden_dim=48)
    whole = anatomy_of(trunk)
    assert anatomy_of(trunk.bfloat16()) == whole
