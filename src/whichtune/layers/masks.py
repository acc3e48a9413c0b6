"""Dropout masks keyed by (seed, step, input), so that a mask depends on nothing that ran before it.

A mask that is a function of its key is the same when a block is recomputed (gradient checkpointing), when other
adapters share the pass, and when two projections read the same input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whichtune.spec.seeds import Streams


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


class MaskSource:
    """The dropout mask of one input, drawn once a forward pass and shared by all adapters that read the input."""

    def __init__(self, key: StepKey, name: str, rate: float) -> None:
        self.key = key
        self.name = name
        self.rate = rate
        self._drawn: tuple[int, Tensor] | None = None

    def apply(self, rows: Tensor) -> Tensor:
        """Drop entries of `rows` and scale the others by 1 / (1 - rate)."""
        if self.rate == 0:
            return rows
        return rows * self._mask(rows)

    def _mask(self, rows: Tensor) -> Tensor:
        step = self.key.micro_step
        if self._drawn is not None and self._drawn[0] == step and self._drawn[1].shape == rows.shape:
            return self._drawn[1]
        generator = torch.Generator(rows.device).manual_seed(self.key.derive(self.name))
        keep = 1 - self.rate
        mask = torch.empty_like(rows, requires_grad=False).bernoulli_(keep, generator=generator).div_(keep)
        self._drawn = (step, mask)
        return mask


def seed_modules(seed: int, device: torch.device) -> None:
    """Seed what a family's own dropout modules draw from.

    `torch.manual_seed` would also queue a call for every kind of device that has not been used yet, with a printed
    stack each, and at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
