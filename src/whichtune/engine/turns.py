"""Time and memory of trials that run side by side in one process: every nanosecond is somebody's, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from whichtune.measure.clock import PeakMeter


class Turns:
    """A time source for the clock of each member, by whose turn it is.

    What members do together is shared out; what one does by itself is all its own; what lies between is nobody's. So
    the wall times of their clocks add up to the time that was spent on them.
    """

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._since = now()
        self._shares: Mapping[int, float] = {}
        self._spent: dict[int, float] = {}

    def source(self, member: int) -> Callable[[], int]:
        """Return the time source of one member: nanoseconds that were its own."""
        return lambda: self._read(member)

    @contextmanager
    def giving(self, shares: Mapping[int, float]) -> Generator[None]:
        """Give the time inside to members, by shares that need not add up to 1."""
        self._book()
        before = self._shares
        whole = sum(shares.values())
        self._shares = {member: share / whole for member, share in shares.items()}
        try:
            yield
        finally:
            self._book()
            self._shares = before

    def _read(self, member: int) -> int:
        self._book()
        return int(self._spent.get(member, 0.0))

    def _book(self) -> None:
        now = self._now()
        for member, share in self._shares.items():
            self._spent[member] = self._spent.get(member, 0.0) + share * (now - self._since)
        self._since = now


class SharedMeter:
    """One meter of peaks, read and reset by many: each gets the peak since its own last reset."""

    def __init__(self, meter: PeakMeter) -> None:
        self._meter = meter
        self._views: list[_View] = []
        meter.reset()

    def view(self) -> PeakMeter:
        """Return a meter for one of them."""
        view = _View(self)
        self._views.append(view)
        return view

    def poll(self) -> None:
        """Read the meter for all of them."""
        peak = self._meter.read()
        self._meter.reset()
        for view in self._views:
            view.note(peak)


@dataclass(eq=False)
class _View:
    """What one of them sees."""

    meter: SharedMeter
    peak: int | None = 0

    def reset(self) -> None:
        self.meter.poll()
        self.peak = 0

    def read(self) -> int | None:
        self.meter.poll()
        return self.peak

    def note(self, peak: int | None) -> None:
        """Take a new reading in; one that cannot be told leaves the peak unknown."""
        self.peak = None if peak is None or self.peak is None else max(self.peak, peak)
