"""Put the batches of several runs into one, and find each run's rows again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whichtune.layers.laid_masks import Lay
from whichtune.models.batch import Batch
from whichtune.models.layout import Layout
from whichtune.models.prefix import Prefix


@dataclass(frozen=True)
class Joint:
    """One batch of several: the sequences of the first run, then those of the second, as wide as the widest."""

    batch: Batch
    members: tuple[Batch, ...]
    """Each run's own batch."""
    alone_packed: tuple[bool, ...]
    """Whether a pass over each of them alone would leave padding out."""
    counts: tuple[int, ...]
    """Real rows of each."""
    _lays: dict[bool, tuple[Lay, ...]] = field(default_factory=dict)

    @property
    def extent(self) -> tuple[int, int]:
        """Sequences, and rows each."""
        rows, width = self.batch.ids.shape
        return rows, width

    @property
    def tokens(self) -> int:
        """Real rows of all."""
        return sum(self.counts)

    def routes(self, *, packed: bool) -> tuple[slice, ...]:
        """Where the sequences of each run stand; packed, where its real rows stand."""
        sizes = self.counts if packed else [len(one.rows) for one in self.members]
        stops = list(accumulate(sizes))
        return tuple(slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True))

    def lays(self, *, packed: bool) -> tuple[Lay, ...]:
        """How the rows of each run stand in the shared pass, beside how they would alone."""
        if packed not in self._lays:
            width = None if packed else self.extent[1]
            pairs = zip(self.members, self.alone_packed, strict=True)
            self._lays[packed] = tuple(Lay(one.layout, alone, width) for one, alone in pairs)
        return self._lays[packed]

    def split(self, hidden: Tensor) -> list[Tensor]:
        """Return each run's hidden rows, as wide as its own batch, of those of all [B, W, H]."""
        places = zip(self.routes(packed=False), self.members, strict=True)
        return [hidden[route, : one.ids.shape[1]] for route, one in places]


def join(batches: Sequence[Batch], device: torch.device, alone: Sequence[bool]) -> Joint:
    """Put batches, texts at their left, into one, and all of it onto a device.

    `alone` says of each whether a pass of its own would leave padding out. Batches come from the CPU, where looking at
    them is free.
    """
    counts = tuple(one.tokens for one in batches)
    members = tuple(one.to(device) for one in batches)
    width = max(one.ids.shape[1] for one in members)
    batch = Batch(
        rows=np.concatenate([one.rows for one in members]),
        ids=_stack([one.ids for one in members], width),
        segments=_stack_known([one.segments for one in members], width),
        targets=torch.cat([one.targets for one in members]),
        layout=_stack_layouts([one.layout for one in members], width),
        prefix=_stack_prefixes([one.prefix for one in members], width),
    )
    return Joint(batch, members, tuple(alone), counts)


def _stack(parts: Sequence[Tensor], width: int) -> Tensor:
    """Widen [B, W, ...] with zeros, and put all behind one another."""
    return torch.cat([functional.pad(one, (0, 0) * (one.ndim - 2) + (0, width - one.shape[1])) for one in parts])


def _stack_known(parts: Sequence[Tensor | None], width: int) -> Tensor | None:
    known = [one for one in parts if one is not None]
    return _stack(known, width) if len(known) == len(parts) else None


def _stack_layouts(parts: Sequence[Layout], width: int) -> Layout:
    real, positions, read = (_stack([getattr(one, name) for one in parts], width) for name in _PLACES)
    return Layout(real, positions, read, _stack_known([one.targets for one in parts], width))


def _stack_prefixes(parts: Sequence[Prefix | None], width: int) -> Prefix | None:
    """Join what the first blocks made of each, where that is known of all, and of equally many blocks."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or len({one.blocks for one in known}) > 1:
        return None
    return replace(known[0], rows=_stack([one.rows for one in known], width))


_PLACES = ("real", "positions", "read")
