"""Attention of packed rows by a kernel for texts of any lengths, where a GPU has one.

Laid out as a small batch again, packed rows are copied four times a block, and attention computes as many products as
there is padding. torch's own kernel (`torch.nn.attention.varlen`, FlashAttention 2: Dao 2023) takes rows as they stand,
with the places where texts begin. It is there for half precision on a GPU and without dropout; everything else is laid
out as ever. It rounds otherwise (T1), and is tried beside plain attention, forward and backward, before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Rows = tuple[Tensor, Tensor, Tensor]
"""Query [T, H, D], key and value [T, G, D]: G heads, each for H / G of the query's."""
DEVICES = {"cuda"}
DTYPES = {torch.float16, torch.bfloat16}
MOST_WIDTH, WIDTH_STEP = 256, 8
"""Of a head: what the kernel takes."""
TRIED = (5, 1, 33)
"""Rows of the texts that it is tried on."""
CLOSE = 2e-2
"""Greatest difference in that trial, as a share of the largest entry: bfloat16 has 8 bits."""


@dataclass(frozen=True)
class Texts:
    """Where texts begin among packed rows."""

    bounds: Tensor
    """[B + 1] int32: of each its first row, and the end of the last."""
    longest: int


@dataclass(frozen=True)
class Manner:
    """How rows look at each other."""

    causal: bool
    """At themselves and earlier ones alone."""
    scale: float | None
    """What products are multiplied by; one over the square root of a head's width where it is not said."""


def attend_as_packed(rows: Rows, texts: Texts, causal: bool, how: Mapping[str, Any]) -> Tensor | None:
    """Return what attention gives for packed rows, [T, H, D]; None where no kernel is there for them.

    `how` is what `transformers` tells an attention function: `scaling` and `dropout` are looked at.
    """
    query, key, value = rows
    width = query.shape[-1]
    if query.device.type not in DEVICES or query.dtype not in DTYPES or how.get("dropout"):
        return None
    if len({one.dtype for one in rows}) > 1 or width != value.shape[-1] or width > MOST_WIDTH or width % WIDTH_STEP:
        return None
    kernel, manner = find_kernel(), Manner(causal, how.get("scaling"))
    shape = (query.shape[1], key.shape[1], width)
    if kernel is None or not is_right(kernel, str(query.device), query.dtype, shape, manner):
        return None
    return _call(kernel, rows, texts, manner)


@lru_cache(maxsize=1)
def find_kernel() -> Callable[..., Any] | None:
    """Return torch's kernel for texts of any lengths; None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@lru_cache(maxsize=64)
def is_right(
    kernel: Callable[..., Any], device: str, dtype: torch.dtype, shape: tuple[int, int, int], manner: Manner
) -> bool:
    """Tell whether a kernel gives what plain attention gives, gradients included; `shape`: heads, key heads, width."""
    heads, few, width = shape
    draw = torch.Generator().manual_seed(0)
    shapes = [(sum(TRIED), count, width) for count in (heads, few, few)]
    kind = torch.device(device).type
    try:  # a prediction may be the first to ask
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(kind, enabled=False):
            query, key, value = (torch.randn(one, generator=draw).to(device, dtype).requires_grad_() for one in shapes)
            bounds = torch.tensor([0, *TRIED], device=device).cumsum(0).int()
            found = _call(kernel, (query, key, value), Texts(bounds, max(TRIED)), manner)
            expected = _attend_plainly((query, key, value), bounds.tolist(), manner)
            gradients = [
                torch.autograd.grad(one.float().square().sum(), (query, key, value)) for one in (found, expected)
            ]
    except (RuntimeError, TypeError, ValueError):
        return False
    pairs = [(found, expected), *zip(*gradients, strict=True)]
    return all(_are_close(*pair) for pair in pairs)


def _call(kernel: Callable[..., Any], rows: Rows, texts: Texts, manner: Manner) -> Tensor:
    """Call a kernel by the names that its version has; raise TypeError where it has none for what is asked."""
    known = inspect.signature(kernel).parameters
    named: dict[str, Any] = {}
    if "window_size" in known:
        named["window_size"] = (-1, 0) if manner.causal else (-1, -1)
    elif manner.causal:
        named["is_causal"] = True
    if manner.scale is not None:
        named["scale"] = manner.scale
    query, key, value = rows
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in known:
            named["enable_gqa"] = True
        else:
            key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], dim=1) for one in (key, value))
    return kernel(query, key, value, texts.bounds, texts.bounds, texts.longest, texts.longest, **named)


def _attend_plainly(rows: Rows, bounds: Iterable[int], manner: Manner) -> Tensor:
    """Attend text by text."""
    attend = partial(
        functional.scaled_dot_product_attention,
        is_causal=manner.causal,
        scale=manner.scale,
        enable_gqa=rows[0].shape[1] != rows[1].shape[1],
    )
    found: list[Tensor] = []
    for start, end in pairwise(bounds):
        query, key, value = (one[start:end].transpose(0, 1)[None] for one in rows)
        found.append(attend(query, key, value)[0].transpose(0, 1))
    return torch.cat(found)


def _are_close(found: Tensor, expected: Tensor) -> bool:
    apart = (found.float() - expected.float()).abs().max()
    return bool(apart <= CLOSE * expected.float().abs().max())
