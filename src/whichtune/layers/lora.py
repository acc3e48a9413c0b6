"""LoRA: a bank of low-rank adapters over one frozen projection (Hu et al. 2021).

    y = base(x) + scale * B(A(dropout(x)))        scale = alpha / rank, or alpha / sqrt(rank) rank-stabilised

The bank holds slots; one slot is the ordinary case. With several, each owns a slice of the batch's rows, so that many
trials can share one pass over the frozen base. A slot holds one adapter per adapted slice of the base's output: one
for an ordinary projection, up to three for a fused query/key/value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichtune.errors import TrialError
from whichtune.layers.low_rank import SharedInput
from whichtune.models.quantizing import FourBitLinear


@dataclass(frozen=True)
class LoraShape:
    """Rank and scale of an adapter."""

    rank: int
    alpha: float
    rslora: bool = False

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class LoraAdapter(nn.Module):
    """One low-rank delta: `down` [rank, in] (A), `up` [out, rank] (B), onto a slice of the base's output."""

    def __init__(self, shape: LoraShape, width: tuple[int, int], reads: SharedInput, out: slice | None = None) -> None:
        super().__init__()
        features_in, features_out = width
        self.shape = shape
        self.reads = reads
        self.out = out
        self.down = nn.Parameter(torch.zeros(shape.rank, features_in))
        self.up = nn.Parameter(torch.zeros(features_out, shape.rank))
        reads.readers.append(self)

    def initialise(self, seed: int) -> None:
        """Draw A uniformly in +-1/sqrt(in) (Kaiming, a = sqrt 5) and set B to zero: the start is the base."""
        generator = torch.Generator().manual_seed(seed)
        bound = 1 / math.sqrt(self.down.shape[1])
        with torch.no_grad():
            self.down.copy_(torch.empty(self.down.shape).uniform_(-bound, bound, generator=generator))
            self.up.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        """Return the scaled low-rank product of `rows`, [..., out]."""
        return functional.linear(self.reads.reduce(self, rows, None), self.up) * self.shape.scale

    def add_to(self, projected: Tensor, rows: Tensor, route: slice | None) -> Tensor:
        """Return what the base made of the rows of a route, [..., base's out], with the adapter's product added."""
        low = self.reads.reduce(self, rows, route)
        up = self.up if self.out is None else _place(self.up, self.out, projected.shape[-1])
        if not low.dtype == up.dtype == projected.dtype:  # a base of fewer bits than its adapters
            return projected + (functional.linear(low, up) * self.shape.scale).to(projected.dtype)
        flat = (projected.reshape(-1, projected.shape[-1]), low.reshape(-1, low.shape[-1]))
        return torch.addmm(*flat, up.T, alpha=self.shape.scale).view(projected.shape)

    def delta(self) -> Tensor:
        """Form the weight that merging adds, [out, in]: the one place where it is formed."""
        return (self.up.float() @ self.down.float()) * self.shape.scale


class LoraBank(nn.Module):
    """A frozen projection with slots of adapters beside it.

    `transposed` says that the base keeps its weight as [in, out] (GPT-2's Conv1D). `train()` and `eval()` move
    nothing; merging is explicit, keeps the original tensor and puts that very tensor back. A four-bit base is never
    merged into, since rounding would lose the adapters: its dequantized twin stands in its place while merged.
    """

    def __init__(self, base: nn.Module, *, transposed: bool = False) -> None:
        super().__init__()
        self.base = base
        self.transposed = transposed
        self.slots = nn.ModuleList()
        self.routes: Sequence[slice] | None = None
        self._original: tuple[Tensor | FourBitLinear] | None = None  # in a tuple: no module of the bank

    @property
    def merged(self) -> bool:
        """Whether the adapters stand in the base's weight at the moment."""
        return self._original is not None

    def add_slot(self, adapters: Sequence[LoraAdapter]) -> None:
        """Add one slot: the adapters of one trial on this projection."""
        self.slots.append(nn.ModuleList(adapters))

    def forward(self, rows: Tensor) -> Tensor:
        """Project `rows` [B, ..., in] and add each slot's adapters to the rows routed to it."""
        projected = self.base(rows)
        if self.merged:
            return projected
        if self.routes is None:
            return self._adapt(projected, rows, 0, None)
        parts = [self._adapt(projected[route], rows, index, route) for index, route in enumerate(self.routes)]
        return torch.cat(parts)

    @torch.no_grad()
    def merge(self) -> None:
        """Put the only slot's adapters into the base's weight; the original tensor is kept aside."""
        if self.merged:
            raise TrialError("this LoRA bank is already merged; unmerge it first")
        if len(self.slots) != 1:
            raise TrialError(f"{len(self.slots)} adapters share this projection; only a lone one can be merged")
        if isinstance(self.base, FourBitLinear):
            self._original = (self.base,)
            self.base = self.base.dequantize()
            self._add_deltas(self.base.weight.data)
            return
        weight: Tensor = self.base.weight.data  # type: ignore[union-attr]
        merged = weight.clone()
        self._add_deltas(merged)
        self._original = (weight,)
        self.base.weight.data = merged  # type: ignore[union-attr]

    def unmerge(self) -> None:
        """Put the original weight back, bit for bit."""
        if self._original is None:
            raise TrialError("this LoRA bank is not merged")
        (original,) = self._original
        if isinstance(original, FourBitLinear):
            self.base = original
        else:
            self.base.weight.data = original  # type: ignore[union-attr]
        self._original = None

    def _add_deltas(self, merged: Tensor) -> None:
        view = merged.T if self.transposed else merged
        for adapter in self._adapters(0):
            target = view if adapter.out is None else view[adapter.out]
            target.copy_((target.float() + adapter.delta().to(target.device)).to(target.dtype))

    def _adapt(self, projected: Tensor, rows: Tensor, slot: int, route: slice | None) -> Tensor:
        for adapter in self._adapters(slot):
            projected = adapter.add_to(projected, rows, route)
        return projected

    def _adapters(self, slot: int) -> list[LoraAdapter]:
        return list(self.slots[slot])  # type: ignore[arg-type]


def _place(up: Tensor, out: slice, width: int) -> Tensor:
    """Put B [slice, rank] where its slice of a fused projection stands: [width, rank], zeros elsewhere."""
    return functional.pad(up, (0, 0, out.start, width - out.stop))
