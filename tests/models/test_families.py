"""Each family of the table against a tiny model of it: every number and every path, odd options too."""

import dataclasses

import pytest
import torch

from whichtune.errors import ModelError
from whichtune.models.anatomy import WORDS
from whichtune.models.count import count_elements, count_parameters
from whichtune.models.families import TEXT_FAMILIES, describe_family
from whichtune.models.generic import find_anatomy

PLAIN = {family: (family, {}) for family in TEXT_FAMILIES}
V2 = {"share_att_key": False, "pos_att_type": "p2c|c2p"}
ODD = {
    "albert, as wide as its tables": ("albert", {"embedding_size": 32}),
    "albert, three groups": ("albert", {"num_hidden_groups": 3}),
    "albert, one segment": ("albert", {"type_vocab_size": 1}),
    "electra, as wide as its tables": ("electra", {"embedding_size": 32}),
    "distilbert, sinusoids": ("distilbert", {"sinusoidal_pos_embds": True}),
    "mpnet, more buckets": ("mpnet", {"relative_attention_num_buckets": 40, "num_attention_heads": 2}),
    "deberta v2 with a convolution": ("deberta-v2", V2 | {"conv_kernel_size": 3, "conv_groups": 2, "conv_act": "gelu"}),
    "deberta, maps for positions": ("deberta-v2", V2 | {"position_buckets": -1, "norm_rel_ebd": "none"}),
    "deberta, c2p alone": ("deberta-v2", V2 | {"pos_att_type": "c2p"}),
    "deberta, p2c alone": ("deberta-v2", V2 | {"pos_att_type": "p2c"}),
    "deberta, tied c2p alone": ("deberta-v2", {"pos_att_type": "c2p"}),
    "deberta, narrow tables": ("deberta-v2", {"embedding_size": 16, "position_biased_input": True}),
    "deberta, two segments": ("deberta-v2", {"type_vocab_size": 2, "max_relative_positions": 20}),
    "deberta, absolute alone": ("deberta-v2", {"relative_attention": False, "position_biased_input": True}),
    "deberta, a table nobody reads": ("deberta-v2", {"pos_att_type": ""}),
    "modernbert, biases everywhere": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    "modernbert, biases in norms": ("modernbert", {"norm_bias": True}),
    "llama, biases everywhere": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, heads of another width": ("llama", {"head_dim": 4, "num_key_value_heads": 1}),
    "qwen3, biases": ("qwen3", {"attention_bias": True}),
    "gemma, biases": ("gemma", {"attention_bias": True}),
    "phi, norms of heads": ("phi", {"qk_layernorm": True, "num_key_value_heads": 2}),
    "opt, norms behind": ("opt", {"do_layer_norm_before": False}),
}
INNER = {"distilbert": "hidden_dim", "gpt2": "n_inner", "opt": "ffn_dim"}
"""Name of the MLP's width, where it is another."""
GATED = {"gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3"}
BY_TABLE = {"albert", "modernbert", "deberta-v2", "gpt", "gpt2", "phi"}
"""Families that need the table: their structure does not tell everything."""
CASES = PLAIN | ODD
IDS = torch.tensor([[0, 5, 6, 9, 2, 30, 31, 2], [0, 7, 8, 3, 2, 40, 41, 2]])


@pytest.fixture(params=sorted(CASES))
def backbone(request, tiny_backbone):
    family, config = CASES[request.param]
    inner = {INNER.get(family, "intermediate_size"): 48}
    return tiny_backbone(family, **{"num_hidden_layers": 3} | inner | config)


def biases(module):
    return sum(tensor.numel() for name, tensor in module.named_parameters() if name.endswith("bias"))


def test_theory_equals_the_count_of_the_tensors(backbone):
    sizes, anatomy = backbone.dimensions, backbone.anatomy
    assert sizes.trunk.parameters == count_parameters(backbone.trunk)
    assert sizes.trunk.biases == biases(backbone.trunk)
    assert sizes.trunk.inert == count_elements(backbone.trunk.get_parameter(name) for name in backbone.inert)
    assert sizes.blocks == len(backbone.blocks)
    assert sizes.blocks * anatomy.runs == 3
    assert sizes.hidden == backbone.hidden
    assert sizes.head_form == anatomy.head
    for index, block in enumerate(backbone.blocks):
        size = sizes.first_block if index == 0 and sizes.first_block is not None else sizes.block
        assert (size.parameters, size.biases) == (count_parameters(block), biases(block))
    for count in range(1, sizes.blocks + 2):
        assert sizes.last_blocks(count).parameters == sum(map(count_parameters, backbone.blocks[-count:]))
    for part, paths in {
        "embeddings": anatomy.embeddings,
        "final_norm": anatomy.final_norm,
        "pooler": anatomy.pooler,
    }.items():
        modules = [backbone.module(path) for path in ([paths] if isinstance(paths, str) else paths or ())]
        size = getattr(sizes, part)
        assert (size.parameters, size.biases) == (sum(map(count_parameters, modules)), sum(map(biases, modules)))


def test_every_tensor_has_a_place(backbone):
    anatomy = backbone.anatomy
    places = (*anatomy.embeddings, anatomy.blocks, *anatomy.shared, anatomy.final_norm, anatomy.pooler)
    fronts = tuple(f"{place}." for place in places if place is not None)
    rest = {name for name, _ in backbone.trunk.named_parameters() if not name.startswith(fronts)}
    assert rest == set(anatomy.unread)


def test_each_projection_is_where_and_as_large_as_stated(backbone):
    gated = ("mlp-gate",) if backbone.anatomy.family in GATED else ()
    assert tuple(backbone.anatomy.projections) == WORDS + gated
    for word in backbone.anatomy.projections:
        path, module, projection = backbone.projection(-1, word)
        extent = backbone.dimensions.projections[word]
        assert module is backbone.trunk.get_submodule(path)
        assert projection.transposed == (backbone.anatomy.family == "gpt2")
        whole = module.weight.T if projection.transposed else module.weight
        weight = whole if projection.rows is None else whole[projection.rows]
        assert tuple(weight.shape) == (extent.outputs, extent.inputs)
        assert (module.bias is not None) == extent.bias


def test_projections_of_one_input_name_read_one_tensor(backbone):
    seen = {}

    def write(name):
        def note(module, args):
            rows = args[0].shape[:-1]
            if rows in ((1, 4), (4,)) and name not in seen.setdefault(name, []):
                seen[name].append(args[0])

        return note

    for word in backbone.anatomy.projections:
        _, module, projection = backbone.projection(0, word)
        module.register_forward_pre_hook(write(projection.reads))
    with torch.no_grad():
        backbone.trunk(input_ids=torch.tensor([[0, 5, 6, 2]]))
    runs = backbone.anatomy.runs
    assert {name: len({one.data_ptr() for one in rows}) for name, rows in seen.items()} == dict.fromkeys(
        {one.reads: None for one in backbone.anatomy.projections.values()}, runs
    )
    assert {"attention", "context", "mlp-inner"} <= set(seen)


def test_inert_tensors_have_a_gradient_of_zero_and_the_others_do_not(backbone):
    backbone.trunk.double()
    hidden = backbone.trunk(input_ids=IDS).last_hidden_state
    weights = torch.randn(hidden.shape, dtype=hidden.dtype, generator=torch.Generator().manual_seed(0))
    (hidden * weights).sum().backward()
    inert, unread = set(backbone.inert), set(backbone.anatomy.unread)
    skipped = f"{backbone.anatomy.pooler}."
    for name, tensor in backbone.trunk.named_parameters():
        if name.startswith(skipped):
            continue
        largest = None if tensor.grad is None else float(tensor.grad.abs().max())
        assert (largest is None) == (name in unread), name
        if largest is not None:
            assert (largest < 1e-11) == (name in inert), (name, largest)


@pytest.mark.parametrize("family", sorted(set(TEXT_FAMILIES) - BY_TABLE))
def test_structure_alone_finds_what_the_table_says(family, tiny_backbone):
    """Two independent roads to one anatomy: what the family's code does when it runs, and what we read in it."""
    backbone = tiny_backbone(family)
    found = find_anatomy(backbone.trunk, backbone.config)
    known = backbone.anatomy
    assert dataclasses.replace(found, head=known.head, pooler=known.pooler, unmeasured=None) == known


@pytest.mark.parametrize("kinds", ["p2c", "c2p", "p2c|c2p"])
def test_structure_finds_what_the_table_says_of_debertas_with_own_maps(kinds, tiny_backbone):
    backbone = tiny_backbone("deberta-v2", share_att_key=False, pos_att_type=kinds)
    found, known = find_anatomy(backbone.trunk, backbone.config), backbone.anatomy
    assert set(found.shared) == set(known.shared)
    assert set(found.inert) == set(known.inert) - {"attention.self.pos_key_proj.bias"}
    assert (found.projections, found.blocks, found.embeddings) == (known.projections, known.blocks, known.embeddings)


@pytest.mark.parametrize(
    ("family", "config", "said"),
    [
        ("albert", {"inner_group_num": 2}, r"`inner_group_num` of the model: got 2; allowed: 1"),
        ("albert", {"num_hidden_groups": 2, "num_hidden_layers": 3}, r"`num_hidden_groups`.*a divisor of the 3 layers"),
        ("deberta-v2", {"pooler_hidden_act": "silu"}, r"`pooler_hidden_act`.*tanh"),
        ("deberta-v2", {"pooler_hidden_size": 16}, r"`pooler_hidden_size`.*32, the hidden size"),
        ("modernbert", {"classifier_activation": "relu"}, r"`classifier_activation`.*gelu"),
        ("modernbert", {"classifier_bias": True}, r"`classifier_bias`"),
        ("electra", {"is_decoder": True}, r"`is_decoder`"),
        ("gpt2", {"add_cross_attention": True}, r"`add_cross_attention`"),
        ("opt", {"word_embed_proj_dim": 16}, r"`word_embed_proj_dim` of the model: got 16; allowed: 32"),
        ("opt", {"enable_bias": False}, r"`enable_bias`"),
        ("gemma2", {"use_bidirectional_attention": True}, r"`use_bidirectional_attention`"),
    ],
)
def test_variants_that_are_not_described_are_refused(family, config, said, tiny_backbone):
    with pytest.raises(ModelError, match=said):
        tiny_backbone(family, **config)


def test_other_widths_of_attention_are_refused(tiny_backbone):
    config = tiny_backbone("deberta-v2").config | {"attention_head_size": 5}
    with pytest.raises(ModelError, match="attention_head_size"):
        describe_family(config)


def test_keeping_blocks_of_a_shared_one_cuts_its_runs(tiny_backbone):
    from whichtune.models.backbone import LoadRequest
    from whichtune.models.load import load_backbone
    from whichtune.spec.backbones import RandomBackbone

    def load(keep, **config):
        spec = RandomBackbone(
            kind="random", family="albert", config={"num_hidden_layers": 4} | config, keep_blocks=keep
        )
        return load_backbone(spec, LoadRequest())

    whole, cut = load(None), load(1)
    assert (whole.anatomy.runs, cut.anatomy.runs) == (4, 1)
    assert "runs of the shared block" in cut.notes[0]
    assert count_parameters(whole.trunk) == count_parameters(cut.trunk)
    ran = []
    for backbone in (whole, cut):
        backbone.blocks[0].register_forward_hook(lambda *_, backbone=backbone: ran.append(backbone.anatomy.runs))
        backbone.trunk(input_ids=IDS)
    assert (ran.count(4), ran.count(1)) == (4, 1)
    with pytest.raises(ModelError, match="keep_blocks"):
        load(1, num_hidden_groups=2)


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet"])
def test_families_without_an_attention_interface_fall_back_and_say_so(family, tiny_backbone):
    backbone = tiny_backbone(family)
    assert backbone.trunk.config._attn_implementation == "eager"
    assert any("eager" in note for note in backbone.notes)
