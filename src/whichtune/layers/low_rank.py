"""The low-rank half of LoRA, written out: one product for all adapters that read an input, and nothing kept of it.

Left to autograd, each adapter keeps its own dropped copy of the input and its mask for the backward pass. Here the
adapters of one trial that read the same rows (query, key and value; gate and up) share a product with their A matrices
side by side, and the backward pass draws the mask again from its key: what is kept is the input, which exists anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from whichtune.layers.masks import Mask, MaskSource


class Reader(Protocol):
    """What reads a shared input: an adapter with its A matrix."""

    down: nn.Parameter
    training: bool


@dataclass
class _Reduced:
    """What has been made of one input, and who has not taken their part yet."""

    rows: Tensor
    route: slice | None
    parts: dict[int, Tensor]


class SharedInput:
    """The input of one or more adapters of a trial: reduced once a forward pass, for all of them."""

    def __init__(self, source: MaskSource) -> None:
        self.source = source
        self.readers: list[Reader] = []
        self._held: _Reduced | None = None

    def reduce(self, reader: Reader, rows: Tensor, route: slice | None) -> Tensor:
        """Return what the reader's A makes of `rows` [..., in], or of those of a route: [..., rank].

        Readers are asked one after another with the very same tensor; the first has the product made for all, and the
        last leaves nothing behind.
        """
        held = self._held
        if held is None or held.rows is not rows or held.route != route or id(reader) not in held.parts:
            held = self._held = _Reduced(rows, route, self._reduce(rows if route is None else rows[route], reader))
        part = held.parts.pop(id(reader))
        if not held.parts:
            self._held = None
        return part

    def _reduce(self, rows: Tensor, reader: Reader) -> dict[int, Tensor]:
        mask = self.source.find() if reader.training else None
        low = reduce_rows(rows, [one.down for one in self.readers], mask)
        return {id(one): part for one, part in zip(self.readers, low, strict=True)}


def reduce_rows(rows: Tensor, downs: Sequence[Tensor], mask: Mask | None) -> Sequence[Tensor]:
    """Multiply dropped rows [..., in] with every A [rank, in]: a list of [..., rank]."""
    together = downs[0] if len(downs) == 1 else torch.cat(list(downs))
    low: Tensor = _Reduce.apply(rows, together, mask)  # type: ignore[assignment]
    return low.split([len(down) for down in downs], dim=-1)


class _Reduce(torch.autograd.Function):
    """scale * (mask * rows) @ downs.T, with gradients for what asks for one alone."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, downs: Tensor, mask: Mask | None) -> Tensor:
        """Return [..., ranks]; keeps the input itself, not what was dropped of it."""
        ctx.save_for_backward(rows, downs)
        ctx.mask = mask
        kept = rows if mask is None else mask.drop(rows)
        lowered = torch.is_autocast_enabled(rows.device.type)  # then the product itself chooses its type
        low = functional.linear(kept if lowered else kept.to(downs.dtype), downs)
        return low if mask is None else low.mul_(mask.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        """Return the gradients of rows and matrices; the mask is drawn again."""
        rows, downs = ctx.saved_tensors
        mask: Mask | None = ctx.mask
        grad = grad if mask is None else grad * mask.scale
        grad_rows = grad_downs = None
        if ctx.needs_input_grad[1]:
            kept = rows if mask is None else mask.drop(rows)
            flat = grad.reshape(-1, grad.shape[-1])
            grad_downs = (flat.T @ kept.to(grad.dtype).reshape(-1, kept.shape[-1])).to(downs.dtype)
        if ctx.needs_input_grad[0]:
            grad_rows = (grad @ downs.to(grad.dtype)).to(rows.dtype)
            grad_rows = grad_rows if mask is None else mask.drop(grad_rows)
        return grad_rows, grad_downs, None
