"""All trackers of a study: one that fails is switched off until the next trial, and the record says so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from whichtune.errors import SpecError
from whichtune.records.trial import TrialRecord
from whichtune.spec.trackers import TrackerSpec
from whichtune.trackers.contract import Ending, Opening, Tracker, config_of, figures_of
from whichtune.trackers.remote import LEAVE_SECONDS, RemoteTracker, TrackerError

SLOW_SECONDS = 10.0
SLOW_SHARE = 0.1
"""A tracker that takes more than both of a trial's time while it trains is switched off."""
PATIENCE_TRIALS = 3
"""After so many failed trials in a row a tracker is left alone for the rest of the study."""


class Figures(Protocol):
    """One optimizer step, as the engine tells it."""

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        ...

    @property
    def loss(self) -> float:
        """Training loss."""
        ...

    @property
    def learning_rate(self) -> float:
        """Learning rate of the step."""
        ...

    @property
    def gradient_norm(self) -> float:
        """Norm of the whole gradient before clipping."""
        ...


class ClosableTracker(Tracker, Protocol):
    """A tracker with a process of its own."""

    def wait_until_made(self) -> None:
        """Return when the library is there."""
        ...

    def close(self, seconds: float) -> None:
        """End the process."""
        ...


@dataclass
class Guard:
    """Stands between a trial and one tracker: whatever fails inside ends up as a reason, never outside."""

    name: str
    spec: TrackerSpec
    make: Callable[[], ClosableTracker]
    tracker: ClosableTracker | None = None
    off: str = ""
    """Why the tracker is switched off in this trial; empty while it is on."""
    failed_trials: int = 0
    spent_seconds: float = 0.0
    began: float = 0.0

    def prepare(self) -> None:
        """Start the process; its library is imported while others start."""
        try:
            self.tracker = self.make()
        except Exception as error:  # told by `require` or at the first trial
            self._drop(f"{type(error).__name__}: {error}")

    def require(self) -> None:
        """Refuse a tracker whose library is missing or that lacks a login, before anything trains."""
        if self.tracker is None:
            return
        try:
            self.tracker.wait_until_made()
        except TrackerError as error:
            self._drop("")
            told = f"trackers.{self.name}: {self.spec.kind} cannot be used: {error}"
            extra = f"`pip install 'whichtune[{self.spec.kind}]'`, or " if error.missing else ""
            raise SpecError(told, remedy=f"{extra}leave the tracker out") from error

    def start(self, opening: Opening) -> None:
        """Start a trial with the tracker switched on, unless it has failed too often."""
        self.off = ""
        if self.failed_trials >= PATIENCE_TRIALS:
            self.off = f"it failed in {self.failed_trials} trials in a row"
            return
        self.tell("at the start", lambda tracker: tracker.open(opening))
        self.spent_seconds, self.began = 0.0, time.monotonic()

    def tell(self, when: str, act: Callable[[Tracker], None]) -> None:
        """Tell the tracker something, if it is on; switch it off if that fails."""
        if self.off:
            return
        start = time.monotonic()
        try:
            if self.tracker is None:
                self.tracker = self.make()
                self.tracker.wait_until_made()
            act(self.tracker)
        except Exception as error:  # a tracker never fails a trial
            told = str(error) if isinstance(error, TrackerError) else f"{type(error).__name__}: {error}"
            self.failed_trials += 1
            self._drop(f"{when}: {told}")
        self.spent_seconds += time.monotonic() - start

    def check_pace(self, step: int) -> None:
        """Switch the tracker off when telling it takes too much of the trial."""
        elapsed = time.monotonic() - self.began
        if not self.off and self.spent_seconds > max(SLOW_SECONDS, SLOW_SHARE * elapsed):
            self.failed_trials += 1
            self._drop(f"at step {step}: it took {self.spent_seconds:.0f} s of {elapsed:.0f} s")

    def end(self, ending: Ending) -> None:
        """End the trial; a trial tracked to its end clears earlier failures."""
        self.tell("at the end", lambda tracker: tracker.end(ending))
        if not self.off:
            self.failed_trials = 0

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """End the process, if there is one."""
        tracker, self.tracker = self.tracker, None
        if tracker is not None:
            with suppress(Exception):
                tracker.close(seconds)

    def _drop(self, reason: str) -> None:
        self.off = reason
        self.close(1.0)


@dataclass
class Crew:
    """The listener that stands for all trackers; empty where a study has none."""

    guards: list[Guard] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None
    """Takes one warning line."""
    step: int = 0
    _told_off: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Start every tracker's process; raise SpecError where a library is missing."""
        for guard in self.guards:
            guard.prepare()
        for guard in self.guards:
            guard.require()

    def start(self, record: TrialRecord) -> None:
        """Tell that a trial starts."""
        self.step = 0
        self._told_off.clear()
        config = config_of(record)
        words = {name: "none" if value is None else value for name, value in config.items() if "." not in name}
        for guard in self.guards:
            name = guard.spec.run_name.format(**words)
            guard.start(Opening(record.study, record.candidate, record.id, name, guard.spec.tags, config))
        self._warn()

    def on_step(self, figures: Figures, total: int) -> None:
        """Tell loss, learning rate and gradient norm, as often as each tracker wants them."""
        self.step = figures.step
        named = {
            "train/loss": figures.loss,
            "train/learning_rate": figures.learning_rate,
            "train/gradient_norm": figures.gradient_norm,
        }
        due = [guard for guard in self.guards if figures.step in (1, total) or figures.step % guard.spec.every == 0]
        self._log(due, named)

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Tell every metric of a validation, as it is."""
        known = {f"validation/{name}": value for name, value in metrics.items() if value is not None}
        self._log(self.guards, known)

    def end(self, record: TrialRecord) -> None:
        """Tell scores, costs and status; note in the record which trackers did not hear the whole trial."""
        ending = Ending(record.status, self.step, figures_of(record))
        for guard in self.guards:
            guard.end(ending)
        self._warn()
        record.traps += [f"tracker '{guard.name}' was switched off {guard.off}" for guard in self.guards if guard.off]

    def close(self) -> None:
        """End every process; a run that is still open ends as interrupted."""
        for guard in self.guards:
            guard.close()

    def _log(self, due: list[Guard], figures: Mapping[str, float]) -> None:
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        step = self.step
        for guard in due if finite else ():
            guard.tell(f"at step {step}", lambda tracker: tracker.log(step, finite))
            guard.check_pace(step)
        self._warn()

    def _warn(self) -> None:
        for guard in self.guards:
            if guard.off and guard.name not in self._told_off:
                self._told_off.add(guard.name)
                self.say(f"warning: tracker '{guard.name}' is switched off in this trial, {guard.off}")


@contextmanager
def tracking(specs: Mapping[str, TrackerSpec], folder: Path, say: Callable[[str], None]) -> Generator[Crew]:
    """Hold the trackers of a study whose own folder is given; their processes end with it."""
    home = folder.absolute() / "trackers"

    def guard(name: str, spec: TrackerSpec) -> Guard:
        place = home / name if spec.folder is None else spec.folder.absolute()
        return Guard(name, spec, lambda: RemoteTracker(spec, place, place / "tracker.log"))

    crew = Crew([guard(name, spec) for name, spec in specs.items()], say)
    try:
        crew.prepare()
        yield crew
    finally:
        crew.close()
