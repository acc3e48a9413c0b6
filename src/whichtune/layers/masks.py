"""Dropout masks keyed by (seed, step, input), so that a mask depends on nothing that ran before it.

A mask that is a function of its key is the same when a block is recomputed (gradient checkpointing), when other
adapters share the pass, when two projections read the same input, and in the backward pass, where it is drawn again
rather than kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whichtune.models.narrowing import Chosen, find_chosen
from whichtune.spec.seeds import Streams

LEVELS = 2**16
"""An entry is dropped by a whole number of 16 bits: four entries a draw, and rates kept to 1 in 131,072."""
ENTRIES = 4
"""Entries that one drawn number of 64 bits decides on."""


class StepKey:
    """Where a run stands: moved by the loop, read by every keyed dropout of that run."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self._micro_step = 0

    @property
    def micro_step(self) -> int:
        """Forward passes so far."""
        return self._micro_step

    def advance(self) -> None:
        """Move to the next forward pass."""
        self._micro_step += 1

    def derive(self, name: str) -> int:
        """Return the seed of one layer input at this forward pass."""
        return self.streams.derive("dropout", self.micro_step, name)


@dataclass(frozen=True)
class Mask:
    """A mask that is known before it is drawn, and that can be drawn again."""

    seed: int
    rate: float

    @property
    def scale(self) -> float:
        """What entries that stay are multiplied by, so that their mean is kept."""
        return LEVELS / (LEVELS - self._dropped)

    def drop(self, rows: Tensor) -> Tensor:
        """Return `rows` with zeros in the place of dropped entries, not scaled; no gradient passes."""
        kept = torch.empty_like(rows, requires_grad=False, memory_format=torch.contiguous_format)
        return torch.ge(self._draw(rows), self._dropped - LEVELS // 2, out=kept).mul_(rows.detach())

    @property
    def _dropped(self) -> int:
        """Levels of 16 bits that stand for a dropped entry."""
        return round(self.rate * LEVELS)

    def _draw(self, rows: Tensor) -> Tensor:
        """Draw a level of 16 bits for each entry."""
        generator = torch.Generator(rows.device).manual_seed(self.seed)
        drawn = torch.empty(-(-rows.numel() // ENTRIES), dtype=torch.int64, device=rows.device)
        drawn.random_(-(2**63), None, generator=generator)
        return drawn.view(torch.int16)[: rows.numel()].view(rows.shape)


@dataclass(frozen=True)
class ChosenMask(Mask):
    """The mask of some rows, as it is where all of them pass."""

    chosen: Chosen

    def _draw(self, rows: Tensor) -> Tensor:
        """Draw a level for each entry of all rows, and take those of `rows` [1, chosen, E]."""
        levels = super()._draw(rows.new_empty(1).expand(self.chosen.rows, rows.shape[-1]))
        return levels[self.chosen.places].view(rows.shape)


class MaskSource:
    """The dropout mask of one input, the same within a forward pass for all adapters that read the input."""

    def __init__(self, key: StepKey, name: str, rate: float) -> None:
        self.key = key
        self.name = name
        self.rate = rate

    def find(self) -> Mask | None:
        """Return the mask of this forward pass; None where nothing is dropped."""
        if not self.rate:
            return None
        seed, chosen = self.key.derive(self.name), find_chosen()
        return Mask(seed, self.rate) if chosen is None else ChosenMask(seed, self.rate, chosen)


def seed_modules(seed: int, device: torch.device) -> None:
    """Seed what a family's own dropout modules draw from.

    `torch.manual_seed` would also queue a call for every kind of device that has not been used yet, with a printed
    stack each, and at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
