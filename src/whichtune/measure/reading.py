"""A measured quantity, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Reading(Generic[Number]):
    """A number, or None with the reason: an unknown quantity is never 0 and never a sentinel."""

    value: Number | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a reading has a value or a reason, never both and never neither")
