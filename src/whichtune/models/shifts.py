"""Learn about a trunk by moving one thing and watching the hidden rows: is a bias inert, is attention causal?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.models.anatomy import Projection, Word
from whichtune.models.observe import Trace, run_ids

INERT_SHARE = 1e-3
"""A key bias is inert if moving it moves the hidden rows by less than this share of what the query bias does.

The true share is 0 and rounding leaves about 1e-4 in float32; where the bias matters it is of the order of 1.
"""


def is_causal(trunk: Any, trace: Trace) -> bool:
    """Whether the first row is blind to the last token."""
    return _is_blind(trunk, trace, row=0, token=-1)


def is_deaf(trunk: Any, trace: Trace) -> bool:
    """Whether the last row is blind to the first token: no row looks at another, or its attention did not run."""
    return _is_blind(trunk, trace, row=-1, token=0)


def _is_blind(trunk: Any, trace: Trace, *, row: int, token: int) -> bool:
    other = trace.ids.clone()
    other[0, token] = trace.ids[0, 1]
    with torch.no_grad():
        return torch.equal(run_ids(trunk, other)[:, row], trace.hidden[:, row])


def find_inert(trunk: nn.Module, blocks: str, projections: Mapping[Word, Projection], trace: Trace) -> tuple[str, ...]:
    """Name the key's bias if softmax ignores it: no rotation and no relative position looks at the key alone."""
    count = len(list(trunk.get_submodule(blocks).children()))
    key, query = (
        [
            getattr(trunk.get_submodule(f"{blocks}.{index}.{projections[word].path}"), "bias", None)
            for index in range(count)
        ]
        for word in ("key", "query")
    )
    if any(bias is None for bias in (*key, *query)):
        return ()
    exact = copy.deepcopy(trunk).float() if trace.hidden.dtype != torch.float32 else trunk
    moved = {
        word: _moved(exact, [f"{blocks}.{index}.{projections[word].path}.bias" for index in range(count)], trace.ids)
        for word in ("key", "query")
    }
    return (f"{projections['key'].path}.bias",) if moved["key"] < INERT_SHARE * moved["query"] else ()


def _moved(trunk: nn.Module, names: list[str], ids: Tensor) -> float:
    """Return how far the hidden rows move when biases are shifted; the biases are put back bit for bit."""
    biases = [trunk.get_parameter(name) for name in names]
    kept = [bias.detach().clone() for bias in biases]
    with torch.no_grad():
        before = run_ids(trunk, ids)
        try:
            for bias in biases:
                bias.add_(torch.linspace(-1, 1, bias.numel(), device=bias.device))
            return float((run_ids(trunk, ids) - before).abs().max())
        finally:
            for bias, value in zip(biases, kept, strict=True):
                bias.copy_(value)
