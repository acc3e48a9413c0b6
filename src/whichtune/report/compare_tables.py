"""Two studies or trials beside each other, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from whichtune.report.compare_model import Crossing, Side, Versus
from whichtune.report.figures import DASH, format_interval, format_score, plain
from whichtune.report.model import MetricHead
from whichtune.report.quality import format_margin
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.terminal import print_sections

SETTINGS_SHOWN = 40
"""So many differing settings are listed; all stand in the JSON form."""


def render_versus(versus: Versus, console: Console) -> None:
    """Print two studies or trials beside each other."""
    for letter, side in (("A", versus.first), ("B", versus.second)):
        console.print(Text(plain(f"{letter}: {_tell_side(side)}")))
    margin = format_margin(versus.margin_amount, versus.metric.unit)
    console.print(Text(plain(f"{versus.rows:,} {versus.split} rows in both; margin {margin}")))
    filled = [one for one in lay_out_versus(versus) if (one.rows if isinstance(one, TableSection) else one.lines)]
    print_sections(filled, console)


def lay_out_versus(versus: Versus) -> Iterator[Section]:
    """Yield the sections of a comparison of two; empty ones included."""
    metric = versus.metric
    yield TableSection(
        title=f"A against B by {metric.title}{', lower is better' if metric.direction == 'lower' else ''}",
        columns=("candidate", "A", "B", "A better by", "what may be said"),
        rows=[_cells(pair, metric) for pair in versus.crossings],
        right=frozenset({1, 2, 3}),
        note="Intervals are 95 %: rows and seeds are taken as random; rows are paired, seeds are not.",
    )
    yield ListSection("Scope", versus.scope)
    yield ListSection("Not compared", [f"{one.what}: {one.reason}" for one in versus.unpaired])
    rest = len(versus.settings) - SETTINGS_SHOWN
    yield TableSection(
        title="Settings that differ",
        columns=("setting", "A", "B"),
        rows=[(one.name, one.first or DASH, one.second or DASH) for one in versus.settings[:SETTINGS_SHOWN]],
        note=f"{rest:,} more stand in the JSON form." if rest > 0 else "",
    )


def _tell_side(side: Side) -> str:
    return f"{side.name} ({side.what}{f' of {side.study}' if side.what == 'trial' else ''})"


def _cells(pair: Crossing, metric: MetricHead) -> tuple[str, ...]:
    first, second = pair.first, pair.second
    name = first.candidate if first.candidate == second.candidate else f"{first.candidate} against {second.candidate}"
    scores = (
        f"{format_score(one.mean, metric.unit)}\n{format_interval(one.low, one.high, metric.unit)}"
        for one in (first, second)
    )
    difference = f"{format_score(pair.difference, metric.unit)}\n{format_interval(pair.low, pair.high, metric.unit)}"
    said = pair.sentence if pair.better is None else f"{pair.better}: {pair.sentence}"
    return name, *scores, difference, said
