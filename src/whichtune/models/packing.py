"""No padding in the trunk: the real tokens of a batch run as one long row, and attention sees each text by itself.

Random batches of short texts are about 40 % padding, and everything in a trunk but attention treats rows one by one:
products, norms and activations over padding are work for nothing. Packed, a batch is [1, T, E], T being its real rows;
only attention, a few per cent of the work at these lengths, lays them out as [B, W] again. It is reached through the
attention interface of `transformers`, so there is no code per family: an attention that is registered there without a
mask function gets no mask at all, and each module says itself whether it is causal.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from whichtune.models.layout import Layout
from whichtune.models.varlen import Texts, attend_as_packed

NAME = "whichtune-packed"
"""What the attention is called where `transformers` looks it up."""
LEAST_PADDING = 0.05
"""Share of padding below which a batch runs as it is: laying rows out anew in every block costs more than that."""


GROUPS = 4
"""Groups of like length that attention takes a batch in: its cost grows with the square of the longest text in each."""
LEAST_GROUP = 4
"""Texts in a group at least."""
WINDOWS = ("sliding_window", "local_attention", "attention_chunk_size", "attention_window")


@dataclass(frozen=True)
class Asked:
    """What the attention of a module is asked about packed rows: query, key and value, each [1, H, T, D]."""

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    causal: bool
    """Whether a row looks at earlier ones alone."""
    how: Mapping[str, Any]
    """Scale, dropout, and whatever else the family says."""

    def compute(self, seen: Tensor | None, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend in a small batch, each [B, H, W, D], to the places that may be looked at: [B, W, H, D]."""
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(self.module, query, key, value, seen, **self.how)[0]


class Attention(Protocol):
    """Answers what the attention modules of a trunk are asked while packed rows pass."""

    def attend(self, asked: Asked) -> Tensor:
        """Return [1, T, H, D]."""
        ...


@dataclass(frozen=True)
class Group:
    """Texts of like length, laid out as a small batch of their own."""

    texts: Tensor
    """[B] int64: which texts of the batch."""
    batch: int
    width: int
    inside: Tensor
    """[B x W] int64: the packed row that stands at each place; at padding, the first row of the same text."""
    places: Tensor
    """[own rows] int64: the place of each real row, text by text."""
    padding: Tensor
    """[padding] int64: places with nothing of their own."""
    real: Tensor | None
    """[B, 1, 1, W] bool: places that may be looked at; None where all are."""

    def lay_out(self, rows: Tensor) -> Tensor:
        """Lay packed rows [T, H, D] out as [B x W, H, D]."""
        return rows.index_select(0, self.inside)


@dataclass(frozen=True)
class Packing:
    """Where the real rows of a batch stand."""

    groups: tuple[Group, ...]
    order: Tensor | None
    """[T] int64: of each packed row, its place among the real rows of all groups; None where they stand in order."""
    texts: Texts

    def spread(self, rows: Tensor) -> list[Tensor]:
        """Lay packed rows [1, H, T, D] out by groups, each [B, H, W, D]; what stands at padding means nothing."""
        laid: tuple[Tensor, ...] = _LayOut.apply(rows[0].transpose(0, 1), self)  # type: ignore[assignment]
        pairs = zip(laid, self.groups, strict=True)
        return [part.view(one.batch, one.width, *part.shape[1:]).transpose(1, 2) for part, one in pairs]

    def gather(self, parts: Sequence[Tensor]) -> Tensor:
        """Pack the groups' rows, each [B, W, H, D], to [1, T, H, D]."""
        flat = [
            part.reshape(one.batch * one.width, *part.shape[2:]) for part, one in zip(parts, self.groups, strict=True)
        ]
        packed: Tensor = _Join.apply(self, *flat)  # type: ignore[assignment]
        return packed[None]

    def attend(self, asked: Asked) -> Tensor:
        """Attend within each text: by a kernel that takes packed rows, or laid out by groups."""
        query, key, value = (one[0].transpose(0, 1) for one in (asked.query, asked.key, asked.value))
        answered = attend_as_packed((query, key, value), self.texts, asked.causal, asked.how)
        if answered is not None:
            return answered[None]
        # Texts stand at the left, so where a row looks at earlier ones alone, none of them is padding.
        laid = zip(self.groups, *(self.spread(one) for one in (asked.query, asked.key, asked.value)), strict=True)
        return self.gather([asked.compute(None if asked.causal else one.real, *rows) for one, *rows in laid])

    def join(self, laid: Sequence[Tensor]) -> Tensor:
        """Pack what is laid out by groups, each [B x W, H, D], to [T, H, D]."""
        parts = [part.index_select(0, one.places) for part, one in zip(laid, self.groups, strict=True)]
        together = parts[0] if len(parts) == 1 else torch.cat(parts)
        return together if self.order is None else together.index_select(0, self.order)


class _LayOut(torch.autograd.Function):
    """Packed rows by groups. What stands at padding is looked at by no one, so its gradient is zero and is left out."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, packing: Packing) -> tuple[Tensor, ...]:
        ctx.packing = packing
        return tuple(one.lay_out(rows) for one in packing.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.packing.join(grads), None


class _Join(torch.autograd.Function):
    """Groups as packed rows; no gradient comes to padding."""

    @staticmethod
    def forward(ctx: Any, packing: Packing, *laid: Tensor) -> Tensor:
        ctx.packing = packing
        return packing.join(laid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return None, *(one.lay_out(grad).index_fill_(0, one.padding, 0) for one in ctx.packing.groups)


_CURRENT: ContextVar[Attention | None] = ContextVar("attention", default=None)


def find_packing(layout: Layout) -> Packing:
    """Return how the real rows of a layout stand side by side, text by text.

    On a CPU attention takes texts of like length together, since it computes as many products as there is padding.
    """
    lengths = layout.real.sum(dim=1)
    ends = lengths.cumsum(0)
    starts = ends - lengths
    groups = 1 if lengths.is_cuda else max(1, min(GROUPS, len(lengths) // LEAST_GROUP))
    if groups == 1:
        group = find_group(lengths, starts, torch.arange(len(lengths), device=lengths.device))
        return Packing((group,), None, Texts(_find_bounds(ends), group.width))
    texts = [part for part in torch.argsort(lengths, stable=True).chunk(groups) if len(part)]
    found = tuple(find_group(lengths[part], starts[part], part) for part in texts)
    rows = torch.cat([one.inside[one.places] for one in found])
    return Packing(found, torch.argsort(rows), Texts(_find_bounds(ends), max(one.width for one in found)))


def _find_bounds(ends: Tensor) -> Tensor:
    """Return where each text begins, and where the last ends, [B + 1] int32."""
    return functional.pad(ends, (1, 0)).int()


def find_group(lengths: Tensor, starts: Tensor, texts: Tensor) -> Group:
    """Lay out some texts of a batch, by how many rows each has and where they begin among the packed ones."""
    width = max(1, int(lengths.max()))
    columns = torch.arange(width, device=lengths.device)
    real = columns < lengths[:, None]
    inside = starts[:, None] + columns * real
    padding = (~real).flatten().nonzero()[:, 0]
    seen = real[:, None, None, :] if len(padding) else None
    return Group(texts, len(lengths), width, inside.flatten(), real.flatten().nonzero()[:, 0], padding, seen)


def is_worth_it(layout: Layout) -> bool:
    """Tell whether enough of a batch is padding."""
    return float(layout.real.float().mean()) < 1 - LEAST_PADDING


def find_window(config: Mapping[str, Any]) -> str | None:
    """Name the setting by which attention reaches only so far; a pass without masks would not know of it."""
    kinds = config.get("layer_types") or ()
    if any(kind != "full_attention" for kind in kinds):
        return "layer_types"
    return next((name for name in WINDOWS if config.get(name)), None)


@contextmanager
def packing_attention(trunk: nn.Module, packing: Packing) -> Generator[None]:
    """Let the attention of a trunk read packed rows while its forward pass runs."""
    config: Any = cast(Any, trunk).config
    before = config._attn_implementation
    config._attn_implementation = register()
    try:
        with answering(packing):
            yield
    finally:
        config._attn_implementation = before


@contextmanager
def answering(attention: Attention) -> Generator[None]:
    """Let one kind of attention answer inside."""
    token = _CURRENT.set(attention)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def register() -> str:
    """Make the attention known to `transformers` and return its name."""
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """Attend within each text of packed rows: query, key and value [1, H, T, D] to [1, T, H, D]."""
    assert attention_mask is None, "an attention without a mask function gets no mask"  # noqa: S101
    attention = _CURRENT.get()
    assert attention is not None, "packed attention outside of a packed pass"  # noqa: S101
    causal = how.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    asked = Asked(module, query, key, value, causal, how)
    return attention.attend(asked), None  # as the interface asks: rows before heads
