"""Projections in four bits, stood in for by the plain weights they stand for, as long as a trial runs.

A four-bit product unpacks its weight again every time, forward and backward. Where the plain weights fit beside the
packed ones they are unpacked once; the four-bit modules come back untouched.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichtune.models.quantizing import FourBitLinear
from whichtune.models.wide_products import widen_maps


@dataclass(frozen=True)
class Allowance:
    """What plain weights may take while they stand in."""

    most_bytes: int | None = None
    """Bytes; when left out, what the engine finds free."""


class TypedLinear(nn.Module):
    """A frozen linear map whose products are of its weight's own type, whatever type the rows are in."""

    def __init__(self, weight: Tensor, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = bias

    def forward(self, rows: Tensor) -> Tensor:
        """Project rows [..., in] to [..., out]; what comes back is of the rows' type."""
        kind = self.weight.dtype
        bias = None if self.bias is None else self.bias.to(kind)
        return functional.linear(rows.to(kind), self.weight, bias).to(rows.dtype)


@contextmanager
def dequantized(
    trunk: nn.Module, most_bytes: int, precision: str = "float32", *, widen: bool = False
) -> Generator[bool]:
    """Let plain linear maps stand where four-bit ones do, if all of them fit; yields whether they do.

    Whatever wraps a four-bit map (a bank of adapters) finds the plain one in its place, with the same bias. `precision`
    is the arithmetic that everything inside runs in: the weights are kept in the type that it multiplies them in. With
    `widen` they are multiplied as the other maps of such a trunk are.
    """
    packed = {path: module for path, module in trunk.named_modules() if isinstance(module, FourBitLinear)}
    if not packed or count_plain_bytes(trunk, precision) > most_bytes:
        yield False
        return
    try:
        for path, module in packed.items():
            plain = unpack(module, precision)
            if widen:
                widen_maps(plain)
            _put(trunk, path, plain)
        yield True
    finally:
        for path, module in packed.items():
            _put(trunk, path, module)


def unpack(module: FourBitLinear, precision: str) -> nn.Module:
    """Return the plain map in the type in which a four-bit one would multiply."""
    kind = find_kind(module, precision)
    plain = module.dequantize(kind)
    if precision == "float32" and kind != module.dtype:  # rows come in another type than they are multiplied in
        return TypedLinear(plain.weight.data, module.bias).train(module.training)
    return plain


def count_plain_bytes(trunk: nn.Module, precision: str = "float32") -> int:
    """Count the bytes that the plain weights of all four-bit maps would take."""
    found = (module for module in trunk.modules() if isinstance(module, FourBitLinear))
    return sum(one.out_features * one.in_features * find_kind(one, precision).itemsize for one in found)


def find_kind(module: FourBitLinear, precision: str) -> torch.dtype:
    """Return the type of a map's products: that of the arithmetic where it is lowered, else the map's own."""
    return cast(torch.dtype, getattr(torch, module.how.compute if precision == "float32" else precision))


def _put(trunk: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(trunk.get_submodule(parent), name, module)
