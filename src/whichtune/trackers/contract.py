"""What a tracker is told: plain values that travel between processes as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from whichtune.records.trial import TrialRecord

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Opening:
    """The start of a trial."""

    study: str
    candidate: str
    id: str
    run_name: str
    tags: Sequence[str] = ()
    config: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings by dotted name."""


@dataclass(frozen=True)
class Ending:
    """The end of a trial."""

    status: str
    """The record's status, or `interrupted`."""
    step: int
    """The last optimizer step taken; 0 where there was none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Scores of every split and costs, by name."""


class Tracker(Protocol):
    """One run at a time: open, any number of logs, end. Whatever it raises switches it off and is told, no more."""

    def open(self, opening: Opening) -> None:
        """A trial starts; never a continuation of an earlier run."""
        ...

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of an optimizer step; steps never go down, and one may come twice with other names."""
        ...

    def end(self, ending: Ending) -> None:
        """The trial is over; everything is on disk when this returns."""
        ...


def config_of(record: TrialRecord) -> dict[str, Scalar]:
    """Return what a trial was asked to do, by dotted names; lists and mappings stand as JSON."""
    names = ("study", "candidate", "method", "kind", "backbone", "seed", "id")
    own: dict[str, Scalar] = {name: getattr(record, name) for name in names}
    own |= {} if record.role == "final" else {"role": record.role}
    own |= {} if record.labels is None else {"labels": record.labels}
    for part, values in (("method", record.settings), ("training", record.training or {})):
        own |= {f"{part}.{name}": _scalar(value) for name, value in values.items()}
    return own | {f"fingerprint.{name}": value for name, value in record.fingerprints.items()}


def figures_of(record: TrialRecord) -> dict[str, float]:
    """Return a finished trial's scores and costs, apart from the names of series; what is unknown is left out."""
    return {name: float(value) for name, value in _figures(record) if value is not None and math.isfinite(value)}


def _figures(record: TrialRecord) -> Iterator[tuple[str, float | None]]:
    for split, scores in record.scores.items():
        for metric in scores.metrics:
            yield f"final/{split}/{metric.name}", metric.value
    yield "cost/trainable_parameters", record.parameters.trainable
    yield "cost/adapter_bytes", record.adapter_bytes
    yield "cost/wall_seconds", record.wall_seconds
    for name, phase in record.phases.items():
        yield f"cost/{name}_seconds", phase.seconds
        yield f"cost/{name}_peak_bytes", phase.peak_bytes


def _scalar(value: Any) -> Scalar:
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)
