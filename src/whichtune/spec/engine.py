"""What saves work without changing results: each switch names its tier, and can be turned off."""

from __future__ import annotations

from pydantic import Field

from whichtune.spec.base import Spec


class EngineSpec(Spec):
    """How trials are run faster; nothing here is part of a trial's identity."""

    unpad: bool = True
    """Run the real tokens of a batch alone, without padding, where the trunk is proved to give the same rows (T1: the
    same mathematics, rounded otherwise). Probes measure without it."""
    reuse_prefix: bool = True
    """Run the blocks below everything that trains once a text, and keep what they make of it (T1)."""
    prefix_bytes: int = Field(default=4_000_000_000, ge=0)
    """Bytes that all kept prefixes together may take in the cache; a study that needs more runs without."""


PLAIN = EngineSpec(unpad=False, reuse_prefix=False)
"""The plain path: nothing is saved."""
