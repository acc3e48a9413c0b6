"""Gradient checkpointing: blocks are computed again in the backward pass instead of keeping their rows.

The libraries' own switch acts on blocks in train mode alone, and would silently do nothing where frozen blocks stay
in eval mode; this one acts on every block, whatever its mode (Chen et al. 2016). Batch norms that train see a batch
once: their running figures stand still while a block is computed again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def recomputing(blocks: Iterable[nn.Module], *, on: bool) -> Generator[None]:
    """Recompute the blocks in the backward pass of what runs inside; they are given back as they were."""
    wrapped = {block: vars(block).get("forward") for block in blocks} if on else {}
    for block in wrapped:
        again = partial(_make_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=again)
    try:
        yield
    finally:
        for block, before in wrapped.items():
            del block.forward
            if before is not None:  # a method had put something in front of the block's own
                block.forward = before


def _make_contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds a block's first computation and its second one."""
    return nullcontext(), _holding_figures(block)


@contextmanager
def _holding_figures(block: nn.Module) -> Generator[None]:
    """Leave the running figures of batch norms as they are, with the same outputs."""
    norms = [(one, one.momentum) for one in block.modules() if isinstance(one, BATCH_NORMS) and one.training]
    seen = [None if one.num_batches_tracked is None else one.num_batches_tracked.clone() for one, _ in norms]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        with torch.no_grad():
            for (norm, momentum), count in zip(norms, seen, strict=True):
                norm.momentum = momentum
                if norm.num_batches_tracked is not None and count is not None:
                    norm.num_batches_tracked.copy_(count)
