"""What saves work without changing results: each switch names its tier, and can be turned off."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from whichtune.spec.base import Spec


def _check_pack(given: object) -> object:
    given = "off" if given is False else given  # the word, as some readers of YAML take it
    if given in ("auto", "off") or (isinstance(given, int) and not isinstance(given, bool) and given >= 2):
        return given
    raise ValueError("is no number of trials; allowed: whole numbers from 2 on, `auto` and `off`")


PackSize = Annotated[int | Literal["auto", "off"], BeforeValidator(_check_pack)]
"""A number of trials, `auto`, or `off`."""


class EngineSpec(Spec):
    """How trials are run faster; nothing here is part of a trial's identity."""

    unpad: bool = True
    """Run the real tokens of a batch alone, without padding, where the trunk is proved to give the same rows (T1: the
    same mathematics, rounded otherwise). Probes measure without it."""
    narrow: bool = True
    """Run the last block of a trunk for the rows alone that the head reads, where that is proved to give the same (T1);
    it takes `unpad`. Probes measure without it."""
    recompute: bool = True
    """Keep for the backward pass no output of a norm, an activation or a gate where what it is made of is kept anyway:
    it is made again (T0). Probes measure without it."""
    onednn: bool = True
    """Multiply in float32 by oneDNN on processors of which MKL, torch's own choice, uses but half of the width: those
    with AVX-512 that are not Intel's (T1). Probes measure without it."""
    reuse_prefix: bool = True
    """Run the blocks below everything that trains once a text, and keep what they make of it (T1)."""
    prefix_bytes: int = Field(default=4_000_000_000, ge=0)
    """Bytes that all kept prefixes together may take in the cache; a study that needs more runs without."""
    dequantize_once: bool = True
    """Unpack four-bit weights once a trial instead of in every product, where the plain weights fit (T1). Probes
    measure without it: the memory that QLoRA needs is that of four bits."""
    dequantized_bytes: int | None = Field(default=None, ge=0)
    """Bytes that the unpacked weights may take; half of what is free when the trial starts when left out."""
    pack: PackSize = "auto"
    """LoRA trials of one backbone that train in one pass over it (T1): `auto` tries up to 8 on a GPU and goes on where
    that is faster, a number trains so many together anywhere, `off` trains one after another."""


PLAIN = EngineSpec(
    unpad=False, narrow=False, recompute=False, onednn=False, reuse_prefix=False, dequantize_once=False, pack="off"
)
"""The plain path: nothing is saved."""
