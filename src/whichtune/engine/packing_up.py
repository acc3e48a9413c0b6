"""Which trials may share passes over a backbone, told from what is asked alone, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whichtune.models.backbone import LoadRequest
from whichtune.spec.engine import PackSize
from whichtune.spec.lora import LoraBase
from whichtune.spec.method_base import TunerBase
from whichtune.spec.training import TrainingSpec

MOST_TRIALS = 8
"""Trials of a pack where none is told: rows to keep for the backward pass grow with each."""


@dataclass(frozen=True)
class Packable:
    """What decides with whom a trial can share passes."""

    backbone: str
    """Name in the study."""
    request: LoadRequest
    method: TunerBase
    training: TrainingSpec


def why_alone(trial: Packable) -> str | None:
    """Return why a trial shares passes with none, or None where it may."""
    method, training = trial.method, trial.training
    if not isinstance(method, LoraBase):
        return "it trains more than adapters beside a frozen trunk"
    if method.bias != "none":
        return f"`bias: {method.bias}` trains parts of the trunk"
    if trial.request.reads != "text":
        return "it reads more than texts"
    if training.gradient_checkpointing:
        return "`gradient_checkpointing` runs blocks again, for which a shared pass holds nothing"
    return None


def why_apart(one: Packable, other: Packable) -> str | None:
    """Return why two trials cannot share passes, or None where they can."""
    for trial in (one, other):
        if (reason := why_alone(trial)) is not None:
            return reason
    shared = {
        "backbone": (one.backbone, other.backbone),
        "way of loading": (one.request, other.request),
        "kind of method": (type(one.method), type(other.method)),
        "targets": (_targets(one.method), _targets(other.method)),
        "training.precision": (one.training.precision, other.training.precision),
        "training.max_length": (one.training.max_length, other.training.max_length),
    }
    odd = [name for name, (left, right) in shared.items() if left != right]
    return f"they differ in {', '.join(odd)}" if odd else None


def _targets(method: TunerBase) -> tuple[str, ...]:
    return method.targets if isinstance(method, LoraBase) else ()


def limit_pack(asked: PackSize, device: str) -> int:
    """Return how many trials a pack may hold on a kind of device; 1 where each is to run alone."""
    if asked == "off" or (asked == "auto" and device != "cuda"):
        return 1
    return MOST_TRIALS if asked == "auto" else int(asked)


def find_packs(trials: Sequence[Packable], most: int) -> Iterator[list[int]]:
    """Yield the places of trials that go together, in the order of each pack's first; every place once."""
    waiting = list(range(len(trials)))
    while waiting:
        first = waiting[0]
        alike = [place for place in waiting if place == first or why_apart(trials[first], trials[place]) is None]
        pack = alike[: max(1, most)]
        waiting = [place for place in waiting if place not in pack]
        yield pack
