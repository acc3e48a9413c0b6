"""Faults of a study, gathered and told at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whichtune.errors import SpecError
from whichtune.spec.base import Steps
from whichtune.spec.nodes import Place


@dataclass(frozen=True)
class Fault:
    """One fault of a study: where it was written, the path of the setting, and a sentence."""

    place: Place
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.text}" if self.path else f"{self.place}: {self.text}"


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise one SpecError with every fault on a line of its own, in the order of the file; nothing without faults."""
    found = sorted(dict.fromkeys(faults), key=lambda fault: (fault.place.line is None, fault.place.line or 0))
    if found:
        raise SpecError("\n".join(str(fault) for fault in found))


def dotted(steps: Steps) -> str:
    """Write a path as the user would: `methods.lora.rank`, `labels[2]`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
