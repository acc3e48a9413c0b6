import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.count import count_logical, count_parameters
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import (
    FourBitLinear,
    PackedWeight,
    Quantization,
    find_projections,
    quantize_blocks,
    why_no_product,
    why_not_quantized,
)
from whichtune.spec.backbones import RandomBackbone

LEVELS = (
    *(-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0),
)
"""The levels of NF4 as printed in the paper's appendix E, rounded."""
FAMILIES = ("bert", "deberta-v2", "albert", "modernbert", "gpt", "gpt2", "llama", "phi", "opt", "gemma2")


def load(family, quantization=None, **config):
    spec = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2} | config)
    return load_backbone(spec, LoadRequest(quantization=quantization))


def make(out=12, width=32, bias=True, how=None):
    torch.manual_seed(0)
    linear = nn.Linear(width, out, bias=bias)
    return linear, FourBitLinear(linear.weight, linear.bias, how or Quantization())


def replace_by_twins(trunk):
    for path, module in list(trunk.named_modules()):
        if isinstance(module, FourBitLinear):
            parent, _, name = path.rpartition(".")
            setattr(trunk.get_submodule(parent), name, module.dequantize())


def rows_of(backbone):
    encoded = backbone.encoder.encode(["a short text", "another, and a longer one at that"], np.array([0, 1]), 24)
    batch = collate(encoded, range(2))
    with torch.no_grad():
        return backbone.run(backbone.embed(batch), batch.layout, batch.segments)[batch.layout.real]


@pytest.mark.parametrize("shape", [(6, 64), (12, 32), (4, 96), (8, 80), (7, 10), (3, 47)])
def test_weights_become_the_nearest_level_of_their_block(shape):
    weight = torch.linspace(-2, 1.5, shape[0] * shape[1]).reshape(shape)
    four = FourBitLinear(weight, None, Quantization(double=False))
    blocks = functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    levels = torch.tensor(LEVELS) * blocks.abs().amax(dim=1)[:, None, None]
    nearest = (blocks[:, :, None] - levels).abs().argmin(dim=2, keepdim=True)
    expected = levels.expand(len(blocks), 64, 16).gather(2, nearest).flatten()[: weight.numel()].view(shape)
    assert torch.allclose(four.dequantize().weight, expected, atol=2e-6), "blocks may end within a row"
    rows = torch.randn(3, shape[1])
    assert torch.allclose(four(rows), rows @ expected.T, atol=1e-4)


@pytest.mark.parametrize("out, width", [(12, 32), (33, 47), (7, 64)])
@pytest.mark.parametrize("double", [True, False])
def test_the_product_and_its_gradient_are_those_of_the_dequantized_map(out, width, double):
    _, four = make(out, width, how=Quantization(double=double))
    twin = four.dequantize()
    rows = torch.randn(3, 5, width, requires_grad=True)
    upstream = torch.randn(3, 5, out)
    found, expected = four(rows), functional.linear(rows, twin.weight, twin.bias)
    assert distance(found.detach(), expected.detach()) <= 1e-6
    got, wanted = (torch.autograd.grad(one, (rows, four.bias), upstream) for one in (found, expected))
    assert all(torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in zip(got, wanted, strict=True))


def test_double_quantization_stores_smaller_scales():
    plain, double = (make(256, 256, how=Quantization(double=double))[1] for double in (False, True))

    def size(module):
        named = {name: one for name, one in module.state_dict().items() if name not in ("bias", "levels")}
        return sum(one.numel() * one.element_size() for one in named.values() if one is not None)

    weights = 256 * 256
    assert size(plain) == weights * (4 + 32 / 64) / 8
    assert size(double) == weights * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 256 * 4 + 4  # a table of levels, an offset
    rows = torch.randn(4, 256)
    assert not torch.equal(plain(rows), double(rows))


def test_products_in_half_precision_round_and_return_in_the_type_they_came_in():
    linear, exact = make()
    rounded = FourBitLinear(linear.weight, linear.bias, Quantization(compute="bfloat16"))
    rows = torch.randn(6, 32)
    assert rounded(rows).dtype == torch.float32
    assert not torch.equal(rounded(rows), exact(rows))
    assert distance(rounded(rows).detach(), exact(rows).detach()) <= TOLERANCES["bfloat16"]


def test_autocast_lowers_the_product_as_it_does_a_plain_one():
    linear, four = make()
    rows = torch.randn(6, 32)
    with torch.autocast("cpu", torch.bfloat16):
        lowered, plain = four(rows), linear(rows)
    assert lowered.dtype == plain.dtype == torch.bfloat16
    assert distance(lowered.detach(), four(rows).detach()) <= TOLERANCES["bfloat16"]


def test_packed_weights_count_and_copy_as_what_they_stand_for():
    _, four = make(12, 32)
    assert four.weight.numel() == 12 * 32 / 2
    assert count_logical(four.weight) == 12 * 32
    assert count_parameters(four) == 12 * 32 + 12
    twin = copy.deepcopy(four)
    assert isinstance(twin.weight, PackedWeight)
    assert count_parameters(twin) == count_parameters(four)
    rows = torch.randn(2, 32)
    assert torch.equal(twin(rows), four(rows))
    assert count_parameters(four.to("cpu")) == 12 * 32 + 12
    assert all(not one.requires_grad for name, one in four.named_parameters() if name == "weight")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantized_trunk_equals_its_dequantized_twin(family):
    plain, four = load(family), load(family, Quantization())
    packed = [module for _, module in find_projections(four.trunk, four.anatomy)]
    assert packed
    assert all(isinstance(module, FourBitLinear) for module in packed)
    assert sum(isinstance(module, FourBitLinear) for module in four.trunk.modules()) == len(packed)
    assert count_parameters(four.trunk) == count_parameters(plain.trunk)
    assert four.dimensions == plain.dimensions
    assert four.fingerprint == plain.fingerprint
    rows = rows_of(four)
    assert distance(rows, rows_of(plain)) > 1e-2
    replace_by_twins(four.trunk)
    assert distance(rows, rows_of(four)) <= TOLERANCES["nf4"]


def test_tables_norms_and_what_stands_outside_of_blocks_stay_as_they_are():
    plain, four = load("llama", tie_word_embeddings=False), load("llama", Quantization(), tie_word_embeddings=False)
    packed = {f"{path}.weight" for path, _ in find_projections(four.trunk, four.anatomy)}
    before, after = dict(plain.trunk.named_parameters()), dict(four.trunk.named_parameters())
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in set(before) - packed)
    assert torch.equal(plain.output.weight, four.output.weight)


def test_a_map_stored_the_other_way_round_is_turned():
    plain, four = load("gpt2"), load("gpt2", Quantization())
    path, before, projection = plain.projection(0, "mlp-in")
    assert isinstance(before, Conv1D)
    assert projection.transposed
    _, after, turned = four.projection(0, "mlp-in")
    assert not turned.transposed
    assert after.weight.logical == before.weight.T.shape, path
    assert distance(after.dequantize().weight, before.weight.T.detach()) < 0.5


def test_the_same_load_gives_the_same_bits():
    first, second = (load("llama", Quantization()).trunk.state_dict() for _ in range(2))
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_cannot_be_quantized_is_named():
    class Odd(nn.Linear):
        pass

    backbone = load("bert")
    block = backbone.trunk.encoder.layer[1]
    kept = block.intermediate.dense
    block.intermediate.dense = Odd(32, 64)
    why = why_not_quantized(backbone.trunk, backbone.anatomy)
    assert why == "encoder.layer.1.intermediate.dense is a Odd, which cannot be stored in four bits"
    block.intermediate.dense = kept
    block.attention.self.key.weight = block.attention.self.query.weight
    why = why_not_quantized(backbone.trunk, backbone.anatomy)
    assert why is not None
    assert "its weight is encoder.layer.1.attention.self." in why


def test_without_the_package_the_trunk_stays_plain(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    four = load("bert", Quantization())
    assert not any(isinstance(module, FourBitLinear) for module in four.trunk.modules())
    assert "pip install 'whichtune[quantization]'" in why_not_quantized(four.trunk, four.anatomy)


def test_a_product_that_fails_is_told(monkeypatch):
    import bitsandbytes

    _, four = make(width=64)
    assert why_no_product(four) is None

    def refuse(*_, **__):
        raise NotImplementedError("no kernel\nhere")

    monkeypatch.setattr(bitsandbytes, "matmul_4bit", refuse)
    why = why_no_product(four)
    assert why == "the package bitsandbytes cannot multiply four-bit weights on cpu (no kernel here)"


def test_quantizing_twice_changes_nothing():
    four = load("gpt2", Quantization())
    before = {name: tensor.clone() for name, tensor in four.trunk.state_dict().items()}
    assert quantize_blocks(four.trunk, four.anatomy, Quantization()) == four.anatomy
    assert all(torch.equal(before[name], tensor) for name, tensor in four.trunk.state_dict().items())
