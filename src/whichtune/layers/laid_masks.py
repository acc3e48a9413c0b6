"""Dropout masks of one run inside a pass that several share: the very masks of a pass of its own, laid out anew.

A mask is drawn in the shape of the rows it covers, so that a run among others, whose texts stand in a wider batch or
behind one another, would draw another one. Here it is drawn in the shape the run would have alone, and its rows are
put where they stand in the shared pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from whichtune.layers.masks import Mask, MaskSource, StepKey
from whichtune.models.layout import Layout


@dataclass(frozen=True)
class Lay:
    """How the rows of one run stand in a shared pass. B sequences, W rows each, T of them real."""

    layout: Layout
    """Of the run's own batch."""
    alone_packed: bool
    """Whether a pass of its own would leave padding out: T rows, and not B x W."""
    width: int | None
    """Rows a sequence has in the shared pass; None where that leaves padding out."""

    @cached_property
    def alone(self) -> int:
        """Rows in a pass of the run's own."""
        real = self.layout.real
        return int(real.sum()) if self.alone_packed else real.numel()

    @cached_property
    def places(self) -> Tensor | None:
        """[rows in the shared pass] int64: of each the one it is alone; None where they stand as they do alone.

        Padding has some row's place: nobody reads it.
        """
        real = self.layout.real
        own = real.shape[1]
        if self.alone_packed if self.width is None else self.width == own and not self.alone_packed:
            return None
        flat = real.flatten()
        order = flat.cumsum(0).sub(1).clamp(min=0) if self.alone_packed else torch.arange(len(flat), device=flat.device)
        if self.width is None:
            return order[flat]
        return functional.pad(order.view(real.shape), (0, self.width - own)).flatten()


@dataclass(frozen=True)
class LaidMask(Mask):
    """The mask of a run's rows, drawn as if they stood alone."""

    lay: Lay

    def _draw(self, rows: Tensor) -> Tensor:
        """Draw a level for each entry that the run would have alone, and lay them out as `rows` [..., E]."""
        width = rows.shape[-1]
        levels = super()._draw(rows.new_empty(1).expand(self.lay.alone, width))
        return (levels if self.lay.places is None else levels[self.lay.places]).view(rows.shape)


@dataclass
class Seat:
    """Where a run sits at the moment."""

    lay: Lay | None = None
    """Its rows in the shared pass that runs now; None in a pass of its own."""


class LaidMasks(MaskSource):
    """The masks of one input of one run, the same alone and in shared passes."""

    def __init__(self, source: MaskSource, seat: Seat) -> None:
        super().__init__(source.key, source.name, source.rate)
        self.seat = seat

    def find(self) -> Mask | None:
        """Return the mask of this forward pass; None where nothing is dropped."""
        mask, lay = super().find(), self.seat.lay
        return mask if mask is None or lay is None else LaidMask(mask.seed, mask.rate, lay)


class RetracingKey(StepKey):
    """A key that can be put back: a pass that did not fit is taken again another way, under the same masks."""

    def go_back(self, micro_step: int) -> None:
        """Stand where the run stood after so many passes."""
        self._micro_step = micro_step
