"""Counting parameters as a reader of the model's paper would: logical elements, shared tensors once."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from torch import Tensor, nn

from whichtune.models.quantizing import PackedWeight


def count_parameters(module: nn.Module) -> int:
    """Logical elements of a module's parameters; a tensor with two names counts once."""
    return count_elements(module.parameters())


def count_elements(tensors: Iterable[Tensor]) -> int:
    """Logical elements of tensors, each counted once."""
    return sum(count_logical(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values())


def count_logical(tensor: Tensor) -> int:
    """Elements the tensor stands for: storage formats that pack several into one stored number are resolved here."""
    return prod(logical_shape(tensor))


def logical_shape(tensor: Tensor) -> tuple[int, ...]:
    """Shape of what the tensor stands for."""
    return tuple(tensor.logical if isinstance(tensor, PackedWeight) else tensor.shape)
