"""Attention of packed rows by a kernel for texts of any lengths, where a GPU has one.

Laid out as a small batch again, packed rows are copied four times a block, and attention computes as many products as
there is padding. torch's own kernel (`torch.nn.attention.varlen`, FlashAttention 2: Dao 2023) takes rows as they stand,
with the places where texts begin. It is there for half precision on a GPU and without dropout; everything else is laid
out as ever. It rounds otherwise (T1), and is tried beside plain attention, forward and backward, before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
SLACK = 0.1
"""Share of the largest entry of all texts that counts as one of the same text."""
BESIDE = ("position_bias", "softcap", "s_aux", "sliding_window")
"""What attention may be told that the kernel would not hear."""
TRIED = (5, 1, 33, 200)
"""Rows of the texts that it is tried on."""
CLOSE = 2e-2
"""Greatest difference in that trial, as a share of the largest entry of the same text: bfloat16 has 8 bits."""


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
    repeated: bool = False
    """Heads of keys and values stand once for each of the query's that share them."""


def attend_as_packed(rows: Rows, texts: Texts, causal: bool, how: Mapping[str, Any]) -> Tensor | None:
    """Return what attention gives for packed rows, [T, H, D]; None where no kernel is there for them.

    `how` is what `transformers` tells an attention function: `scaling` and `dropout` are looked at.
    """
    kind = rows[0].device.type
    if kind not in DEVICES or how.get("dropout") or any(how.get(name) is not None for name in BESIDE):
        return None
    if torch.is_autocast_enabled(kind):  # as plain attention does: rotations leave queries and keys in float32
        query, key, value = (one.to(torch.get_autocast_dtype(kind)) for one in rows)
    else:
        query, key, value = rows
    width = query.shape[-1]
    if query.dtype not in DTYPES or not query.dtype == key.dtype == value.dtype:
        return None
    if width != value.shape[-1] or width > MOST_WIDTH or width % WIDTH_STEP:
        return None
    kernel, shape = find_kernel(), (query.shape[1], key.shape[1], width)
    if kernel is None:
        return None
    manner = find_manner(kernel, str(query.device), query.dtype, shape, Manner(causal, how.get("scaling")))
    return None if manner is None else _call(kernel, (query, key, value), texts, manner)


@lru_cache(maxsize=1)
def find_kernel() -> Callable[..., Any] | None:
    """Return torch's kernel for texts of any lengths; None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@lru_cache(maxsize=64)
def find_manner(
    kernel: Callable[..., Any], device: str, dtype: torch.dtype, shape: tuple[int, int, int], manner: Manner
) -> Manner | None:
    """Return how a kernel gives what plain attention gives, gradients included; None where it does not.

    `shape` is heads, key heads and their width. Fewer key heads are given as they are where the kernel takes that.
    """
    ways = [manner] if shape[0] == shape[1] else [manner, replace(manner, repeated=True)]
    return next((way for way in ways if _is_right(kernel, (device, dtype), shape, way)), None)


def _is_right(
    kernel: Callable[..., Any], kind: tuple[str, torch.dtype], shape: tuple[int, int, int], manner: Manner
) -> bool:
    (device, dtype), (heads, few, width) = kind, shape
    draw = torch.Generator().manual_seed(0)
    shapes = [(sum(TRIED), count, width) for count in (heads, few, few)]
    try:  # a prediction may be the first to ask
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device.split(":")[0], enabled=False):
            query, key, value = (torch.randn(one, generator=draw).to(device, dtype).requires_grad_() for one in shapes)
            rows = (query, key, value)
            bounds = torch.tensor([0, *TRIED], device=device).cumsum(0).int()
            found = _call(kernel, rows, Texts(bounds, max(TRIED)), manner)
            expected = _attend_plainly(rows, bounds.tolist(), manner)
            gradients = [torch.autograd.grad(one.float().square().sum(), rows) for one in (found, expected)]
    except torch.OutOfMemoryError:
        raise  # says nothing of the kernel
    except (RuntimeError, TypeError, ValueError):
        return False
    pairs = [(found, expected), *zip(*gradients, strict=True)]
    return all(_are_close(*pair) for pair in pairs)


def _call(kernel: Callable[..., Any], rows: Rows, texts: Texts, manner: Manner) -> Tensor:
    """Call a kernel by the names that its version has; raise TypeError where it has none for what is asked."""
    known, (query, key, value) = _list_names(kernel), rows
    named: dict[str, Any] = {}
    if "window_size" in known:
        named["window_size"] = (-1, 0) if manner.causal else (-1, -1)
    elif manner.causal:
        named["is_causal"] = True
    if manner.scale is not None:
        named["scale"] = manner.scale
    if manner.repeated:
        key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], dim=1) for one in (key, value))
    elif key.shape[1] != query.shape[1] and "enable_gqa" in known:
        named["enable_gqa"] = True
    return kernel(query, key, value, texts.bounds, texts.bounds, texts.longest, texts.longest, **named)


@lru_cache(maxsize=8)
def _list_names(kernel: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(kernel).parameters)


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
    """Compare text by text; a lone row gives its query no gradient, so a share of the largest of all is let pass."""
    apart, size = (found.float() - expected.float()).abs(), expected.float().abs()
    pairs = zip(apart.split(TRIED), size.split(TRIED), strict=True)
    return all(bool(one.max() <= CLOSE * (own.max() + SLACK * size.max())) for one, own in pairs)
