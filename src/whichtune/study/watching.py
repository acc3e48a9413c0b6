"""Who is told how a study goes on."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from whichtune.data.examples import DataReport
from whichtune.engine.fit import Listener
from whichtune.records.trial import TrialRecord
from whichtune.study.plan import Planned


class Watcher(Listener, Protocol):
    """Told how the study goes on; a progress display or plain lines."""

    def on_data(self, report: DataReport) -> None:
        """The data are read."""
        ...

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """A trial starts, or was found finished."""
        ...

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """A trial is over; `found` says that an earlier run had finished it."""
        ...

    def on_note(self, text: str) -> None:
        """Something else to say."""
        ...


@runtime_checkable
class Turning(Protocol):
    """A watcher that can follow several trials at once."""

    def turn_to(self, planned: Planned, place: int, total: int) -> None:
        """What is told from here on is about this trial, which has started before."""
        ...
