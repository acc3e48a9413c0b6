"""Who runs the trials that a study asks for: this process, one after the other, or workers beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from whichtune.engine.fit import Listener
from whichtune.records.trial import TrialRecord
from whichtune.study.execute import Desk, execute
from whichtune.study.packs import Asked, divide, execute_pack
from whichtune.study.plan import Planned, trial_id
from whichtune.study.watching import Turning

Halts = Callable[[], Sequence[Listener]]


@dataclass(frozen=True)
class Job:
    """One trial that is to be run."""

    planned: Planned
    identity: dict[str, Any]
    place: int
    """Its place among all trials of the study, from 0."""
    total: int
    halts: Halts | None = None
    """Returns what may end it early by the results of the trials before it; None where nothing may. It can be pickled,
    and is asked by the process that runs the trial."""
    turn: int = 0
    """Trials of its search that were over when it was asked for."""

    @property
    def id(self) -> str:
        """The trial's id."""
        return trial_id(self.identity)


class Starts(Protocol):
    """Told that a trial starts."""

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """A trial starts."""
        ...


class Hands(Protocol):
    """Runs trials and leaves their records; each comes back when it is over, in whatever order they end."""

    @property
    def together(self) -> int:
        """How many trials may run at the same time."""
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, TrialRecord]]:
        """Run every job once, and those that are added meanwhile; nothing runs any more when this is exhausted."""
        ...

    def add(self, jobs: Sequence[Job]) -> None:
        """Take on more, while `run` has just told of one that is over."""
        ...

    def close(self) -> None:
        """End whatever is held for it; trials that still run are left unfinished."""
        ...


@dataclass
class OwnHands:
    """Runs trials in this process, one after the other, but for those that train in one pass."""

    desk: Desk
    teller: Starts
    queue: list[list[Job]] = field(default_factory=list)
    """What is still to be run: lone jobs, and those that train together."""

    @property
    def together(self) -> int:
        """One."""
        return 1

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, TrialRecord]]:
        """Run the jobs in their order; those that train with an earlier one come with it."""
        self.queue = self._divide(jobs)
        while self.queue:
            yield from self._run_pack(self.queue.pop(0))

    def add(self, jobs: Sequence[Job]) -> None:
        """Run them behind the others."""
        self.queue += self._divide(jobs)

    def _divide(self, jobs: Sequence[Job]) -> list[list[Job]]:
        free = [place for place, job in enumerate(jobs) if job.halts is None]
        packs = [[free[one] for one in pack] for pack in divide(self.desk, [jobs[place].planned for place in free])]
        packs += [[place] for place, job in enumerate(jobs) if job.halts is not None]
        return [[jobs[place] for place in pack] for pack in sorted(packs)]

    def _run_pack(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, TrialRecord]]:
        """Run jobs that train together, or a lone one."""
        for job in jobs:
            self.teller.on_trial(job.planned, job.place, job.total)
        if len(jobs) == 1:
            halts = () if jobs[0].halts is None else jobs[0].halts()
            yield jobs[0], execute(self.desk, jobs[0].planned, jobs[0].identity, halts)
            return
        asked = [Asked(job.planned, job.identity, partial(self._turn, job)) for job in jobs]
        for place, record in execute_pack(self.desk, asked):
            yield jobs[place], record

    def _turn(self, job: Job) -> None:
        if isinstance(self.teller, Turning):
            self.teller.turn_to(job.planned, job.place, job.total)

    def close(self) -> None:
        """Do nothing: nothing is held."""
