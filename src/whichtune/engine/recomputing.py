"""Gradient checkpointing: blocks are computed again in the backward pass instead of keeping their rows.

The libraries' own switch acts on blocks in train mode alone, and would silently do nothing where frozen blocks stay
in eval mode; this one acts on every block, whatever its mode (Chen et al. 2016).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputing(blocks: Iterable[nn.Module], *, on: bool) -> Generator[None]:
    """Recompute the blocks in the backward pass of what runs inside; they are given back as they were."""
    wrapped = {block: vars(block).get("forward") for block in blocks} if on else {}
    for block in wrapped:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block, before in wrapped.items():
            del block.forward
            if before is not None:  # a method had put something in front of the block's own
                block.forward = before
