"""Plain weights in the place of four-bit ones: the same products in every type, and the four-bit modules come back."""

import pytest
import torch
from torch import nn

from whichtune.engine.optimizing import Arithmetic
from whichtune.models.dequantizing import TypedLinear, count_plain_bytes, dequantized, find_kind
from whichtune.models.quantizing import FourBitLinear, Quantization

OUT, IN = 48, 64
MANY = 10**9


def make_trunk(dtype=torch.float32, **how):
    """Two maps, one of them wrapped, and a plain one that nothing happens to."""
    torch.manual_seed(0)
    made = [nn.Linear(IN, OUT).to(dtype) for _ in range(2)]
    first, second = (FourBitLinear(one.weight, one.bias, Quantization(**how)) for one in made)
    return nn.ModuleDict({"first": first, "wrapped": nn.ModuleDict({"base": second}), "plain": nn.Linear(2, 2)})


def test_the_plain_weights_stand_where_the_packed_ones_did_and_these_come_back():
    trunk = make_trunk()
    before = dict(trunk.named_modules())
    with dequantized(trunk, MANY) as fits:
        assert fits
        inside = dict(trunk.named_modules())
        assert type(inside["first"]) is nn.Linear
        assert type(inside["wrapped.base"]) is nn.Linear
        assert inside["plain"] is before["plain"]
        assert inside["first"].bias is before["first"].bias
        assert not inside["first"].weight.requires_grad
    assert dict(trunk.named_modules()) == before
    with pytest.raises(ZeroDivisionError), dequantized(trunk, MANY):
        _ = 1 / 0
    assert dict(trunk.named_modules()) == before


def test_what_does_not_fit_stays_in_four_bits():
    trunk = make_trunk()
    needed = 2 * OUT * IN * 4
    assert count_plain_bytes(trunk) == needed
    assert count_plain_bytes(trunk, "bfloat16") == needed // 2
    with dequantized(trunk, needed - 1) as fits:
        assert not fits
        assert isinstance(trunk["first"], FourBitLinear)
    with dequantized(trunk, needed) as fits:
        assert fits
    with dequantized(nn.Linear(2, 2), MANY) as fits:
        assert not fits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("double", [False, True])
def test_products_and_gradients_are_those_of_four_bits(dtype, compute, precision, double):
    trunk = make_trunk(dtype, compute=compute, double=double)
    arithmetic = Arithmetic(precision, torch.device("cpu"))
    found = []
    for most in (0, MANY):
        rows = torch.randn(5, IN, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        with dequantized(trunk, most, precision), arithmetic.forward():
            product = trunk["first"](rows)
            (gradient,) = torch.autograd.grad(product.float().square().sum(), rows)
        found.append((product, gradient))
    (packed, by_packed), (plain, by_plain) = found
    assert packed.dtype == plain.dtype
    assert by_packed.dtype == by_plain.dtype
    whole = find_kind(trunk["first"], precision) == torch.float32 and dtype == torch.float32
    for one, other in ((packed, plain), (by_packed, by_plain)):
        apart = (one.float() - other.float()).norm() / one.float().norm()
        assert float(apart.detach()) <= (1e-6 if whole else 1e-2)


def test_weights_are_unpacked_straight_into_the_type_they_are_multiplied_in():
    packed = make_trunk(torch.bfloat16)["first"]
    trunk = nn.ModuleDict({"one": packed})
    with dequantized(trunk, MANY):
        twin = trunk["one"]
        assert isinstance(twin, TypedLinear)
        assert twin.weight.dtype == torch.float32
        assert not torch.equal(twin.weight, twin.weight.bfloat16().float())
        assert twin(torch.randn(3, IN).bfloat16()).dtype == torch.bfloat16
