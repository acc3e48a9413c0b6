"""Tables of what searches found."""

from __future__ import annotations

from collections.abc import Iterator

from whichtune.report.figures import DASH, format_interval, format_score, format_seconds
from whichtune.report.model import Comparison, MetricHead
from whichtune.report.search import head_search, write_setting
from whichtune.report.search_model import SearchReport, SearchRow, TriedSetting
from whichtune.report.sections import ListSection, Section, TableSection

FLATTERS = (
    "A selection score is the best of many on the validation rows: it flatters, and is no estimate of how good a "
    "candidate is."
)
WHY = {"own": "entry's own", "grid": "", "beyond": "beyond the range", "repeat": ""}


def lay_out_search(comparison: Comparison) -> Iterator[Section]:
    """Yield what was chosen, what to know of it, each setting's score, smaller budgets, and the trials."""
    report = comparison.search
    if report is None:
        return
    metric = head_search(report)
    yield _choices(report, metric)
    yield ListSection("Search: what to know", report.remarks)
    yield _sensitivity(report, metric)
    yield _budgets(report, metric)
    yield ListSection(
        "Search trials, by the beginning of their ids", [_list_trials(row, metric) for row in report.rows]
    )


def _choices(report: SearchReport, metric: MetricHead) -> Section:
    return TableSection(
        title=f"Search: chosen settings, {metric.title} on the validation split",
        columns=("candidate", "chosen", "selection score", "entry's own", "its score", "search", "a final trial"),
        rows=[
            (
                row.candidate,
                write_setting(row.chosen),
                format_score(row.score, metric.unit),
                write_setting(row.own),
                format_score(row.own_score, metric.unit),
                format_seconds(row.training_seconds),
                format_seconds(row.final_seconds),
            )
            for row in report.rows
        ],
        right=frozenset({2, 4, 5, 6}),
        note=f"{FLATTERS} Times are those of training steps, of all search trials and of one final trial.",
    )


def _sensitivity(report: SearchReport, metric: MetricHead) -> Section:
    return TableSection(
        title=f"Sensitivity: validation {metric.title} of every setting tried",
        columns=("candidate", "setting", "score", "seeds", "least..greatest", ""),
        rows=[(row.candidate, *_setting_cells(one, metric)) for row in report.rows for one in row.settings],
        right=frozenset({2, 3, 4}),
    )


def _setting_cells(one: TriedSetting, metric: MetricHead) -> tuple[str, ...]:
    marks = [*(["chosen"] if one.chosen else []), *([WHY[one.purpose]] if WHY[one.purpose] else [])]
    span = format_interval(one.low, one.high, metric.unit) if one.seeds > 1 else DASH
    return write_setting(one.setting), format_score(one.mean, metric.unit), str(one.seeds), span, ", ".join(marks)


def _budgets(report: SearchReport, metric: MetricHead) -> Section:
    """Lay out what fewer settings would have found; nothing where two numbers cannot be compared."""
    longest = max((len(row.expected_best) for row in report.rows), default=0)
    places = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, longest} & set(range(1, longest + 1)))
    return TableSection(
        title="Expected best validation score by the number of settings tried",
        columns=("candidate", *map(str, places)),
        rows=[
            (row.candidate, *(format_score(_at(row, place), metric.unit) for place in places))
            for row in report.rows
            if row.expected_best
        ],
        right=frozenset(range(1, 1 + len(places))),
        note="Mean over all draws of so many from the settings of the first round (Dodge et al. 2019), one seed each.",
    )


def _at(row: SearchRow, place: int) -> float | None:
    return row.expected_best[place - 1] if place <= len(row.expected_best) else None


def _list_trials(row: SearchRow, metric: MetricHead) -> str:
    named = [
        f"{one.id[:8]} ({write_setting(one.setting)}: {format_score(one.score, metric.unit)})" for one in row.trials
    ]
    return f"{row.candidate}: {', '.join(named) or DASH}"
