"""What every source gives: tables by part, and what it is in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whichtune.data.tables import Table

WHOLE = "all"
"""The part of a source that does not say how it is split."""


@dataclass(frozen=True)
class Rows:
    """A source that was read: either one part `all`, or `train` with or without `validation` and `test`."""

    parts: Mapping[str, Table]
    source: str
    """The source in words, with its resolved revision or hash."""
    notes: tuple[str, ...] = field(default=())
