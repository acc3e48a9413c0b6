"""A stable hash of plain values: what a trial's identity is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic import BaseModel


def digest(value: Any, length: int = 16) -> str:
    """Hash a value (models, mappings, sequences, scalars) to hexadecimal; key order does not matter."""
    return sha256(canonical(value).encode()).hexdigest()[:length]


def canonical(value: Any) -> str:
    """Write a value as JSON with sorted keys; floats keep their shortest exact form, so 1e-3 and 0.001 agree."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
