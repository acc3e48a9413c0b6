"""Counting parameters as a reader of the model's paper would: logical elements, shared tensors once."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Logical elements of a module's parameters; a tensor with two names counts once."""
    return count_elements(module.parameters())


def count_elements(tensors: Iterable[Tensor]) -> int:
    """Logical elements of tensors, each counted once."""
    return sum(count_logical(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values())


def count_logical(tensor: Tensor) -> int:
    """Elements the tensor stands for: storage formats that pack several into one stored number are resolved here."""
    return tensor.numel()
