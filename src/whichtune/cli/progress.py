"""What a study shows while it runs: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from whichtune.data.examples import DataReport
    from whichtune.engine.fit import StepFigures
    from whichtune.records.trial import TrialRecord
    from whichtune.study.plan import Planned

QUIET_SECONDS = 30
"""Seconds between plain lines inside one trial."""


class PlainLines:
    """One line a trial, and one every half minute inside long ones."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.place = ""
        self.spoke: dict[str, float] = {}
        """When each trial that runs was last heard of."""

    def on_data(self, report: DataReport) -> None:
        """Show rows by split and label, and everything odd about the data."""
        for line in describe_data(report):
            self.say(line)

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """Remember which trial speaks."""
        self.turn_to(planned, place, total)
        self.spoke[self.place] = time.monotonic()

    def turn_to(self, planned: Planned, place: int, total: int) -> None:
        """Remember which of several trials that run speaks."""
        self.place = f"[{place + 1}/{total}] {planned.label()}"

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """Show how the trial ended."""
        self.spoke.pop(self.place, None)
        self.say(f"{self.place}: {describe_end(record, found=found)}")

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Show a sign of life now and then."""
        if time.monotonic() - self.spoke.get(self.place, 0.0) > QUIET_SECONDS:
            self.spoke[self.place] = time.monotonic()
            self.say(f"{self.place}: step {figures.step} of {total}, loss {figures.loss:.4f}")

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Say nothing: the curve keeps it."""

    def on_note(self, text: str) -> None:
        """Show a note."""
        self.say(text)

    def say(self, text: str) -> None:
        """Print one line, as text and not as markup."""
        self.console.print(escape(text), highlight=False)


class LiveBars(PlainLines):
    """A bar for the study's trials and one for the steps of each trial that runs, with the time left."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self.progress = progress
        self.study = progress.add_task("trials", total=None)
        self.trials: dict[str, TaskID] = {}
        """The bar of each trial that runs."""
        self.over = 0

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """Start a trial's bar."""
        super().on_trial(planned, place, total)
        self.progress.update(self.study, total=total, completed=self.over)
        if self.place in self.trials:  # its worker died, and it runs once more
            self.progress.remove_task(self.trials[self.place])
        self.trials[self.place] = self.progress.add_task(escape(planned.label()), total=None, visible=False)

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Move the trial's bar."""
        if self.place in self.trials:
            self.progress.update(self.trials[self.place], total=total, completed=figures.step, visible=True)

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """Move the study's bar, and take the trial's away."""
        self.over += 1
        self.progress.advance(self.study)
        if self.place in self.trials:
            self.progress.remove_task(self.trials.pop(self.place))
        super().on_trial_end(record, found=found)


def make_progress(console: Console) -> Progress:
    """Make the bars for a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total}"))
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True)


def describe_end(record: TrialRecord, *, found: bool) -> str:
    """Say in a few words how a trial ended; its test scores wait for the last training of the study."""
    if record.failure is not None:
        return f"{record.status}: {record.failure.message}"
    when = "finished before" if found else f"{record.wall_seconds or 0:.1f} s"
    scores = record.scores.get("validation")
    if scores is None or not scores.metrics:
        return f"done ({when})"
    first = scores.metrics[0]
    value = "undefined" if first.value is None else f"{first.value:.4f}"
    return f"validation {first.name} {value} ({when})"


def describe_data(report: DataReport) -> list[str]:
    """Say what the data are, and what is odd about them, a line each."""
    lines = [f"data: {report.source}"]
    for split, rows in report.rows.items():
        labels = report.balance.get(split, {})
        shares = ", ".join(f"{label} {count}" for label, count in list(labels.items())[:8])
        more = f", and {len(labels) - 8} more labels" if len(labels) > 8 else ""
        lines.append(f"  {split}: {rows} rows" + (f" ({shares}{more})" if labels else ""))
    lines += [f"  encoding of {path}: {encoding}" for path, encoding in report.encodings.items()]
    lines += [
        f"  left out of {dropped.split}: {dropped.count} {dropped.reason} ({', '.join(dropped.origins)})"
        for dropped in report.dropped
    ]
    lines += [
        f"  duplicates {' / '.join(dict.fromkeys(pair.splits))}: {pair.exact} exact"
        + ("" if pair.near is None else f", {pair.near} near")
        for pair in report.duplicates
        if pair.exact or pair.near
    ]
    return lines + [f"  {note}" for note in report.notes]
