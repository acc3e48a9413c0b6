"""Phases that partition the wall time by construction: a stack of synchronised clocks.

Standard library only, so that a process can start its clock before it imports a model library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

PHASES = (
    "import",
    "load",
    "encode",
    "attach",
    "compile",
    "warm-up",
    "step",
    "validate",
    "predict",
    "probe",
    "save",
    "other",
)
"""Every phase there is; training time is `step` alone, and what no phase claims is `other`."""


class PeakMeter(Protocol):
    """Something that tells the greatest memory use since its last reset."""

    def reset(self) -> None:
        """Start a new stretch."""
        ...

    def read(self) -> int | None:
        """Return the peak bytes of the stretch, or None where it cannot be told."""
        ...


@dataclass(frozen=True)
class PhaseFigures:
    """What one phase took, over all its stretches."""

    nanoseconds: int
    peak_bytes: int | None = None
    """Greatest peak of the phase's own stretches; None when none was metered or one could not be read."""

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self.nanoseconds / 1e9


@dataclass(frozen=True)
class Timeline:
    """A partition of the wall time: the phases' nanoseconds add up to it exactly."""

    wall_nanoseconds: int
    phases: Mapping[str, PhaseFigures]

    @property
    def wall_seconds(self) -> float:
        """The wall time in seconds."""
        return self.wall_nanoseconds / 1e9


@dataclass(frozen=True)
class _State:
    """All of a clock's accounts, replaced in one assignment, so that no interrupt can leave half of a change."""

    current: str
    since: int
    figures: Mapping[str, PhaseFigures] = field(default_factory=dict[str, PhaseFigures])


class PhaseClock:
    """Give every nanosecond since its making to exactly one phase.

    A nested phase pauses the outer one, in time and in memory: the outer phase's peak is the greatest of the
    stretches before, between and after what it contains. Times are whole nanoseconds of one time source, so
    their sum is the wall time and not nearly the wall time. A clock belongs to one thread.
    """

    def __init__(
        self,
        *,
        synchronise: Callable[[], object] | None = None,
        meter: PeakMeter | None = None,
        now: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._now = now
        self._synchronise = synchronise
        self._meter = meter
        if meter is not None:
            meter.reset()
        self._started = now()
        self._state = _State("other", self._started)

    @property
    def current(self) -> str:
        """The phase that time goes to now."""
        return self._state.current

    def use(self, *, synchronise: Callable[[], object] | None = None, meter: PeakMeter | None = None) -> None:
        """From here on wait for this device and read this meter: both may need libraries imported under the clock."""
        self._switch(self.current)
        self._synchronise = synchronise
        self._meter = meter
        if meter is not None:
            meter.reset()

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Give the time inside to `name`, then go on with the phase around it, however the inside ends."""
        if name not in PHASES:
            raise ValueError(f"no phase '{name}'; there are {', '.join(PHASES)}")
        outer = self.current
        clean = False
        try:
            self._switch(name)
            yield
            clean = True
        finally:
            self._switch(outer, raising=clean)

    def read(self) -> Timeline:
        """Return the partition up to now; the clock goes on."""
        self._switch(self.current)
        state = self._state
        return Timeline(state.since - self._started, dict(state.figures))

    def _switch(self, name: str, *, raising: bool = True) -> None:
        peak: int | None = None
        try:
            if self._synchronise is not None:
                self._synchronise()
            peak = None if self._meter is None else self._meter.read()
        except Exception:  # a device that has just failed must not hide the failure on its way up
            if raising:
                raise
        finally:
            self._state = self._advance(name, peak)
        if self._meter is not None:
            self._meter.reset()

    def _advance(self, name: str, peak: int | None) -> _State:
        state = self._state
        now = self._now()
        before = state.figures.get(state.current)
        total = now - state.since + (0 if before is None else before.nanoseconds)
        figures = PhaseFigures(total, self._greater(before, peak))
        return _State(name, now, {**state.figures, state.current: figures})

    def _greater(self, before: PhaseFigures | None, peak: int | None) -> int | None:
        if self._meter is None:
            return None if before is None else before.peak_bytes
        if before is None or peak is None:
            return peak
        return peak if before.peak_bytes is None else max(before.peak_bytes, peak)
