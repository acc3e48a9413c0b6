"""Overrides: nested values laid over nested values, every other leaf kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` over `base`: mappings merge leaf by leaf, anything else (lists too) replaces.

    A key of `over` meets the same key of `base`, or else the one that differs only in `_` and `-`. A mapping whose
    `kind` changes replaces the old one whole, since its fields belong to another class.
    """
    merged = dict(base)
    alike = {alike_key(key): key for key in base}
    for key, value in over.items():
        own = key if key in base else alike.get(alike_key(key), key)
        merged[own] = _lay(merged.get(own), value)
    return merged


def nest(path: str, value: Any) -> dict[str, Any]:
    """Turn `methods.lora.rank` and 16 into `{"methods": {"lora": {"rank": 16}}}`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def alike_key(key: str) -> str:
    """Return the form that two spellings with `_` and `-` share."""
    return key.replace("-", "_")


def same_kind(old: Any, new: Any) -> bool:
    """Tell whether two `kind` words name one class; an unsaid one (None) goes with any."""
    return old is None or new is None or alike_key(str(old)) == alike_key(str(new))


def _lay(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and same_kind(old.get("kind"), new.get("kind")):
        return deep_merge(old, new)
    return new
