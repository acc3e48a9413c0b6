"""Adapters of several trials over their own rows, multiplied side by side: one batched product for all of them.

Trial by trial, a GPU would be handed many products too small to fill it. In a batched product each trial is an entry
of its own, so that no row, and nothing that is not a number, gets into another trial's. K trials, N rows together, M of
the trial that has most; where others have fewer, rows of their own stand in and are read by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from whichtune.layers.lora import LoraAdapter
from whichtune.layers.masks import Mask

Masks = tuple[Mask | None, ...]


@dataclass(frozen=True)
class Lineup:
    """Where the rows of each trial stand."""

    counts: tuple[int, ...]
    """Rows of each."""
    inside: Tensor | None = None
    """[K x M] int64: the row at each place; None where all trials have equally many."""
    back: Tensor | None = None
    """[N] int64: the place of each row."""
    empty: Tensor | None = None
    """int64: places with no row of their own."""

    def lay_out(self, rows: Tensor) -> Tensor:
        """Lay rows [N, E] out by trials, [K, M, E]."""
        laid = rows if self.inside is None else rows.index_select(0, self.inside)
        return laid.view(len(self.counts), -1, rows.shape[-1])

    def join(self, laid: Tensor) -> Tensor:
        """Put [K, M, E] behind one another, [N, E]."""
        flat = laid.reshape(-1, laid.shape[-1])
        return flat if self.back is None else flat.index_select(0, self.back)

    def drop(self, rows: Tensor, masks: Masks) -> Tensor:
        """Return rows [N, E] with each trial's own mask over them, not scaled."""
        if not any(masks):
            return rows
        parts = zip(rows.split(self.counts), masks, strict=True)
        return torch.cat([part if mask is None else mask.drop(part) for part, mask in parts])


def line_up(counts: Sequence[int], device: torch.device) -> Lineup:
    """Find the places of rows that stand trial by trial."""
    if len(set(counts)) == 1:
        return Lineup(tuple(counts))
    lengths = torch.tensor(counts)
    columns = torch.arange(int(lengths.max()))
    real = columns < lengths[:, None]
    inside = (lengths.cumsum(0) - lengths)[:, None] + columns * real
    places = (inside, real.flatten().nonzero(), (~real).flatten().nonzero())
    return Lineup(tuple(counts), *(one.flatten().to(device) for one in places))


def reduce_many(rows: Tensor, readers: Sequence[Sequence[LoraAdapter]], lineup: Lineup) -> Sequence[Tensor]:
    """Multiply dropped rows [N, in] with every A of every trial: for each reader of the input, [K, M, greatest rank].

    `readers` are each trial's adapters that read this input, in the same order.
    """
    first = [own[0] for own in readers]
    masks = tuple(one.reads.source.find() if one.training else None for one in first)
    ranks = [max(one.shape.rank for one in same) for same in zip(*readers, strict=True)]
    downs = torch.stack([torch.cat(_widen([one.down for one in own], ranks)) for own in readers])
    low: Tensor = _ReduceMany.apply(rows, downs, masks, lineup)  # type: ignore[assignment]
    return low.split(ranks, dim=-1)


def add_many(projected: Tensor, low: Tensor, adapters: Sequence[LoraAdapter], lineup: Lineup) -> Tensor:
    """Add each trial's product to its own rows of what the base made, [N, out]."""
    out, scales = adapters[0].out, tuple(one.shape.scale for one in adapters)
    ups = torch.stack([functional.pad(one.up, (0, low.shape[-1] - one.shape.rank)) for one in adapters])
    if out is not None:
        ups = functional.pad(ups, (0, 0, out.start, projected.shape[-1] - out.stop))
    delta: Tensor = _Join.apply(torch.bmm(low, (ups * _column(scales, ups)).transpose(1, 2)), lineup)  # type: ignore[assignment]
    return projected + delta.to(projected.dtype)


def _widen(downs: Sequence[Tensor], ranks: Sequence[int]) -> list[Tensor]:
    """Fill up each A with zeros to the greatest rank that stands at its place."""
    pairs = zip(downs, ranks, strict=True)
    return [one if len(one) == rank else functional.pad(one, (0, 0, 0, rank - len(one))) for one, rank in pairs]


class _ReduceMany(torch.autograd.Function):
    """scale * (mask * rows) @ downs.T, trial by trial; keeps the input itself and draws masks again."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, downs: Tensor, masks: Masks, lineup: Lineup) -> Tensor:
        """Return [K, M, ranks] of rows [N, in] and downs [K, ranks, in]."""
        ctx.save_for_backward(rows, downs)
        ctx.masks, ctx.lineup = masks, lineup
        kind = downs.dtype
        if torch.is_autocast_enabled(rows.device.type):  # it would lower them after they were raised
            kind = torch.get_autocast_dtype(rows.device.type)
        laid = lineup.lay_out(lineup.drop(rows, masks))
        return _scale(torch.bmm(laid.to(kind), downs.to(kind).transpose(1, 2)), masks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        """Return the gradients of rows and matrices."""
        rows, downs = ctx.saved_tensors
        masks, lineup = ctx.masks, ctx.lineup
        grad = _scale(grad, masks)
        grad_rows = grad_downs = None
        if ctx.needs_input_grad[1]:
            laid = lineup.lay_out(lineup.drop(rows, masks)).to(grad.dtype)
            grad_downs = torch.bmm(grad.transpose(1, 2), laid).to(downs.dtype)
        if ctx.needs_input_grad[0]:
            grad_rows = lineup.drop(lineup.join(torch.bmm(grad, downs.to(grad.dtype))).to(rows.dtype), masks)
        return grad_rows, grad_downs, None, None


class _Join(torch.autograd.Function):
    """Trials behind one another; no gradient comes to places without a row."""

    @staticmethod
    def forward(ctx: Any, laid: Tensor, lineup: Lineup) -> Tensor:
        ctx.lineup = lineup
        return lineup.join(laid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        laid = ctx.lineup.lay_out(grad)
        if ctx.lineup.empty is None:
            return laid, None
        return laid.view(-1, grad.shape[-1]).index_fill_(0, ctx.lineup.empty, 0).view(laid.shape), None


def _scale(low: Tensor, masks: Masks) -> Tensor:
    """Multiply what each trial's mask has left by what keeps its mean."""
    if not any(masks):
        return low
    return low * _column(tuple(1.0 if mask is None else mask.scale for mask in masks), low)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return one number a trial, [K, 1, 1], in the type and on the device of a tensor."""
    return _keep_column(values, like.device, like.dtype)


@lru_cache(maxsize=256)
def _keep_column(values: tuple[float, ...], device: torch.device, kind: torch.dtype) -> Tensor:
    """Make it once: copies to a GPU would make it wait."""
    return torch.tensor(values, device=device, dtype=kind)[:, None, None]
