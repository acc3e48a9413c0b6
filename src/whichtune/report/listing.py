"""The studies under a folder, a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.text import Text

from whichtune.errors import InputError
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import MetricValue, Record, TrialRecord
from whichtune.report.figures import DASH, format_score, plain
from whichtune.report.layout import TableSection
from whichtune.report.quality import SPLIT, title_of
from whichtune.report.terminal import GAP, build_table


class StudyLine(Record):
    """One study in a list."""

    name: str
    """Name of its folder."""
    path: str
    finished: int = 0
    failed: int = 0
    """Trials that ended without a result, unsupported ones apart."""
    total: int = 0
    """Trials the study asks for, as far as is known."""
    metric: str | None = None
    """The first metric."""
    unit: str = "share"
    best: str | None = None
    """Candidate with the best mean of the first metric on the test split, once all trainings are in."""
    best_mean: float | None = None
    when: str | None = None
    """When its latest trial started, UTC."""
    fault: str | None = None
    """Why its records cannot be read."""


def list_studies(root: Path) -> list[StudyLine]:
    """Return the studies right under a folder, the latest first; one that cannot be read is a line with its fault."""
    lines = [_describe(StudyFolder(path.parent)) for path in sorted(root.glob("*/study.yaml"))]
    return sorted(lines, key=lambda line: line.when or "", reverse=True)


def render_list(lines: Sequence[StudyLine], console: Console) -> None:
    """Print studies as a table; where names leave too little room for it, the least telling columns go."""
    if not lines:
        console.print(Text("No studies here; `whichtune run STUDY.yaml` makes one."))
        return
    sound = [one for one in lines if one.fault is None]
    section = _fit(sound, console.width)
    if section is not None:
        console.print(build_table(section, console.width))
    else:
        for one in sound:
            console.print(Text(f"{plain(one.name)}  {one.finished}/{one.total}"), soft_wrap=True)
    for one in lines:
        if one.fault is not None:
            console.print(Text(f"{plain(one.name)} cannot be read: {plain(one.fault)}"))


def _fit(lines: Sequence[StudyLine], width: int) -> TableSection | None:
    """Return the richest table whose cells all stand on one line; None where there is none."""
    failed = any(one.failed for one in lines)
    for columns in TABLES:
        shown = [name for name in columns if name != "failed" or failed or columns is TABLES[0]]
        rows = [tuple(COLUMNS[name](one) for name in shown) for one in lines]
        titles = tuple(name.rstrip() for name in shown)
        wide = [max(len(title), *(len(plain(row[at])) for row in rows)) for at, title in enumerate(titles) if rows]
        if rows and sum(wide) + GAP * (len(wide) - 1) <= width:
            right = frozenset(at for at, title in enumerate(titles) if title in {"finished", "failed"})
            return TableSection("", titles, rows, right)
    return None


def _describe(folder: StudyFolder) -> StudyLine:
    line = StudyLine(name=folder.path.name, path=str(folder.path))
    try:
        trials, plan = folder.read_trials(), folder.read_plan()
    except InputError as error:
        line.fault = str(error)
        return line
    line.finished = sum(one.status == "finished" for one in trials)
    line.failed = sum(one.status in {"failed", "does-not-fit"} for one in trials)
    line.total = len(trials) if plan is None else plan.total
    line.when = max((one.started_at for one in trials), default=None)
    if plan is None or plan.complete:  # nothing of the test split is told before all trainings are in
        _add_best(line, trials)
    return line


def _add_best(line: StudyLine, trials: Sequence[TrialRecord]) -> None:
    values: dict[str, list[MetricValue]] = {}
    for one in trials:
        if one.status == "finished" and SPLIT in one.scores and one.scores[SPLIT].metrics:
            values.setdefault(one.candidate, []).append(one.scores[SPLIT].metrics[0])
    means = {
        name: fmean(value.value for value in found if value.value is not None)
        for name, found in values.items()
        if all(value.value is not None for value in found)
    }
    if not means:
        return
    head = next(iter(values.values()))[0]
    choose = max if head.direction == "higher" else min
    line.best = choose(means, key=lambda name: means[name])
    line.best_mean, line.metric, line.unit = means[line.best], head.name, head.unit


def _score(line: StudyLine) -> str:
    return DASH if line.metric is None else f"{title_of(line.metric)} {format_score(line.best_mean, line.unit)}"


def _day(when: str | None) -> str:
    if when is None:
        return DASH
    try:
        return datetime.fromisoformat(when).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return plain(when)


def _date(when: str | None) -> str:
    return _day(when).partition(" ")[0]


COLUMNS: dict[str, Callable[[StudyLine], str]] = {
    "study": lambda one: one.name,
    "finished": lambda one: f"{one.finished}/{one.total}",
    "failed": lambda one: str(one.failed),
    "best": lambda one: one.best or DASH,
    "mean": _score,
    "mean ": lambda one: format_score(one.best_mean, one.unit),
    "latest": lambda one: _day(one.when),
    "latest ": lambda one: _date(one.when),
}
"""What a column shows of a study; a shorter form of one has a space behind its title."""
TABLES = (
    ("study", "finished", "failed", "best", "mean", "latest"),
    ("study", "finished", "failed", "best", "mean", "latest "),
    ("study", "finished", "failed", "best", "mean"),
    ("study", "finished", "best", "mean"),
    ("study", "finished", "best", "mean "),
    ("study", "finished", "best"),
    ("study", "finished", "failed"),
    ("study", "finished"),
)
"""Columns of the list, the richest first."""
