"""Random backbones: small, repeatable, and nothing left behind in the caller's random state."""

import pytest
import torch

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.families import TEXT_FAMILIES
from whichtune.models.load import load_backbone
from whichtune.models.tiny import fingerprint_random
from whichtune.spec.backbones import RandomBackbone


def make(**fields):
    return load_backbone(RandomBackbone(kind="random", **fields), LoadRequest())


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.trunk.parameters(), other.trunk.parameters(), strict=True))


def test_the_seed_decides_the_weights_and_nothing_outside_does():
    torch.manual_seed(1)
    one = make(seed=3)
    state = torch.get_rng_state()
    other = make(seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, other)
    assert one.fingerprint == other.fingerprint
    third = make(seed=4)
    assert not same(one, third)
    assert one.fingerprint != third.fingerprint


def test_every_leaf_moves_the_fingerprint():
    base = {"family": "bert", "config": {}, "seed": 0, "keep_blocks": None}
    leaves = [{}, {"family": "roberta"}, {"config": {"hidden_size": 64}}, {"seed": 1}, {"keep_blocks": 1}]
    told = {fingerprint_random(RandomBackbone(kind="random", **{**base, **leaf})) for leaf in leaves}
    assert len(told) == len(leaves)


def test_defaults_are_tiny_with_dropout_and_the_specs_fields_win():
    config = make().config
    assert (config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]) == (32, 2, 64)
    assert (config["vocab_size"], config["pad_token_id"], config["hidden_dropout_prob"]) == (259, 1, 0.1)
    assert make(family="roberta").anatomy.positions == make().anatomy.positions == 128
    other = make(config={"hidden_size": 64, "hidden_dropout_prob": 0.0})
    assert (other.hidden, other.config["hidden_dropout_prob"]) == (64, 0.0)


def test_the_pad_row_is_not_a_special_token_that_is_read():
    trunk = make().trunk
    assert trunk.embeddings.word_embeddings.padding_idx == 1
    assert trunk.embeddings.word_embeddings.weight[0].abs().sum() > 0


def test_it_is_given_in_evaluation_mode_and_in_the_dtype_asked_for():
    assert not make().trunk.training
    half = load_backbone(RandomBackbone(kind="random", dtype="bfloat16"), LoadRequest())
    assert {tensor.dtype for tensor in half.trunk.parameters()} == {torch.bfloat16}
    asked = load_backbone(RandomBackbone(kind="random", dtype="bfloat16"), LoadRequest(dtype="float32"))
    assert {tensor.dtype for tensor in asked.trunk.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"family": "brt"}, "did you mean 'bert'"),
        ({"config": {"hiden_size": 8}}, "no field `hiden_size`; did you mean 'hidden_size'"),
        ({"config": {"to_dict": 8}}, "no field `to_dict`"),
        ({"config": {"num_attention_heads": 5}}, "refuses its `config`"),
        ({"config": {"hidden_size": "wide"}}, "refuses its `config`"),
        ({"keep_blocks": 3}, "keep_blocks: got 3; allowed: 1 to 2"),
    ],
)
def test_what_cannot_be_is_one_clear_error(fields, said):
    with pytest.raises(ModelError, match=said):
        make(**fields)


def test_attention_is_as_asked_and_a_wrong_name_is_an_error():
    eager = load_backbone(RandomBackbone(kind="random"), LoadRequest(attention="eager"))
    assert eager.trunk.config._attn_implementation == "eager"
    with pytest.raises(ModelError, match="spda"):
        load_backbone(RandomBackbone(kind="random"), LoadRequest(attention="spda"))


def test_fields_that_only_a_familys_code_knows_may_be_set_and_others_not():
    assert make(family="deberta-v2", config={"conv_kernel_size": 3}).anatomy.shared[-1] == "encoder.conv"
    with pytest.raises(ModelError, match="no field `conv_kernel_sise`; did you mean 'conv_kernel_size'"):
        make(family="deberta-v2", config={"conv_kernel_sise": 3})
    with pytest.raises(ModelError, match="no field `conv_kernel_size`"):
        make(config={"conv_kernel_size": 3})


@pytest.mark.parametrize("family", sorted(TEXT_FAMILIES))
def test_every_family_of_the_table_is_tiny_and_takes_128_rows(family):
    backbone = make(family=family)
    assert (backbone.hidden, len(backbone.blocks) * backbone.anatomy.runs) == (32, 2)
    assert backbone.anatomy.positions == backbone.encoder.max_positions == 128
    assert backbone.dimensions.trunk.parameters < 40_000
    dropped = {module.p for module in backbone.trunk.modules() if isinstance(module, torch.nn.Dropout)}
    assert 0.1 in dropped or backbone.config["attention_dropout"] == 0.1
