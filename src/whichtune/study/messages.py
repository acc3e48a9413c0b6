"""What the process of a study and its workers tell each other, pickled, over a pipe that no one else holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whichtune.engine.fit import StepFigures
from whichtune.records.trial import TrialRecord
from whichtune.spec.study import StudySpec
from whichtune.study.hands import Job
from whichtune.study.plan import Planned


@dataclass(frozen=True)
class Setup:
    """First word to a worker: what it works on."""

    study: StudySpec
    folder: Path
    name: str
    """Of the worker, and of its ledger."""
    device: str
    threads: int
    workers: int
    """How many of them there are."""


@dataclass(frozen=True)
class Work:
    """To a worker: trials to run."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Lay:
    """To a worker: put a candidate together and warm it up, to time its steps; it answers `Laid`."""

    planned: Planned


@dataclass(frozen=True)
class Go:
    """To a worker that laid out a candidate: time so many steps, now; it answers `Timed`."""

    steps: int


@dataclass(frozen=True)
class End:
    """To a worker: there is nothing more to do."""


@dataclass(frozen=True)
class Ready:
    """From a worker: it has started."""


@dataclass(frozen=True)
class Laid:
    """From a worker: the candidate that is to be timed stands and is warm."""


@dataclass(frozen=True)
class Fault:
    """From a worker: it cannot go on, and why."""

    told: str


@dataclass(frozen=True)
class Timed:
    """From a worker: the seconds of each step."""

    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Note:
    """From a worker: a line for the user."""

    text: str


@dataclass(frozen=True)
class Stepped:
    """From a worker: the trial at a place has taken a step."""

    place: int
    figures: StepFigures
    total: int


@dataclass(frozen=True)
class Validated:
    """From a worker: the trial at a place was validated."""

    place: int
    step: int
    score: float
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Done:
    """From a worker: the trial at a place is over."""

    place: int
    record: TrialRecord


Order = Setup | Work | Lay | Go | End
Report = Ready | Laid | Fault | Timed | Note | Stepped | Validated | Done
