"""The layout of a batch: which rows are real, where they stand, and which the head reads.

Made by the collator, carried beside the batch, and never inferred again from pad ids. Unpadding, left padding, soft
prompts and labels-only logits are changes of layout, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Side = Literal["left", "right"]
"""On which side of its tokens a sequence is padded."""


@dataclass(frozen=True)
class Layout:
    """Shapes: B sequences, W rows each (the widest sequence of the batch)."""

    real: Tensor
    """[B, W] bool: rows that exist; the others are padding."""
    positions: Tensor
    """[B, W] int64: place of each row in its own sequence, from 0; 0 on padding."""
    read: Tensor
    """[B, W] bool: rows a head may pool over; a subset of `real`."""
    targets: Tensor | None = None
    """[B, W] bool: rows that have a target of their own; None where the target belongs to the sequence."""

    @property
    def lengths(self) -> Tensor:
        """[B] int64: real rows of each sequence."""
        return self.real.sum(dim=1)

    @property
    def first(self) -> Tensor:
        """[B] int64: index of the first row the head reads."""
        return self.read.int().argmax(dim=1)

    @property
    def last(self) -> Tensor:
        """[B] int64: index of the last row the head reads."""
        width = self.read.shape[1]
        return width - 1 - self.read.flip(1).int().argmax(dim=1)

    def to(self, device: torch.device) -> Layout:
        """Move every tensor to a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return Layout(self.real.to(device), self.positions.to(device), self.read.to(device), targets)

    def prepend(self, count: int, *, read: bool = False) -> Layout:
        """Put `count` virtual rows in front of every sequence; `read` lets the head read them."""
        batch = self.real.shape[0]
        front = torch.ones(batch, count, dtype=torch.bool, device=self.real.device)
        places = torch.arange(count, device=self.real.device).expand(batch, count)
        return replace(
            self,
            real=torch.cat([front, self.real], dim=1),
            positions=torch.cat([places, torch.where(self.real, self.positions + count, 0)], dim=1),
            read=torch.cat([front if read else ~front, self.read], dim=1),
            targets=None if self.targets is None else torch.cat([~front, self.targets], dim=1),
        )


def layout_of(lengths: Tensor, *, side: Side = "right") -> Layout:
    """Lay out sequences of the given lengths, padded on one side; the head may read every real row.

    A sequence of no rows has no first and no last one to read, so it is refused.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: got {side!r}; allowed: 'left', 'right'")
    if len(lengths) and int(lengths.min()) < 1:
        raise ValueError("every sequence needs at least one row")
    width = int(lengths.max()) if len(lengths) else 0
    columns = torch.arange(width).expand(len(lengths), width)
    starts = torch.zeros_like(lengths) if side == "right" else width - lengths
    places = columns - starts[:, None]
    real = (places >= 0) & (places < lengths[:, None])
    return Layout(real, torch.where(real, places, 0), real.clone())
