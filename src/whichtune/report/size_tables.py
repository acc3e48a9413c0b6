"""Tables of scores by the number of labelled rows."""

from __future__ import annotations

from collections.abc import Iterator

from whichtune.report.figures import DASH, format_interval, format_score
from whichtune.report.model import Comparison, MetricHead
from whichtune.report.quality import title_of
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.size_model import SizePoint, SizeReport
from whichtune.stats.metrics import METRICS

CURVES = "Scores by labelled rows"
TITLE = "By labelled rows"
HELD = {
    "steps": "Every training takes as many steps as on all rows.",
    "epochs": "Every training goes through its rows as often as on all of them.",
}
"""What stays equal over sizes, in words."""


def lay_out_sizes(comparison: Comparison) -> Iterator[Section]:
    """Yield where candidates cross, then a row a candidate and a column a size; nothing without several sizes."""
    report = comparison.sizes
    if report is None:
        return
    metric = size_metric(report)
    yield ListSection(TITLE, report.sentences)
    sizes = sorted({point.size for curve in report.curves for point in curve.points})
    held = {(curve.candidate, point.size): point for curve in report.curves for point in curve.points}
    yield TableSection(
        title=f"{CURVES}: {metric.title}",
        columns=("candidate", *(f"{size:,}" for size in sizes)),
        rows=[
            (curve.candidate, *(_cell(held.get((curve.candidate, size)), metric) for size in sizes))
            for curve in report.curves
        ],
        right=frozenset(range(1, len(sizes) + 1)),
        note=f"Rows are those for training and validation together. Means over chains of subsets, each drawn anew and "
        f"shared by the methods, with the settings of the final trials; intervals are 95 %. {HELD[report.hold]}",
    )


def size_metric(report: SizeReport) -> MetricHead:
    """Return how the scores of a report on sizes are read."""
    known = METRICS.get(report.metric)
    if known is None:
        return MetricHead(name=report.metric, title=title_of(report.metric), direction="higher", unit="points")
    return MetricHead(name=known.name, title=known.title, direction=known.direction, unit=known.unit)


def _cell(point: SizePoint | None, metric: MetricHead) -> str:
    if point is None:
        return DASH
    interval = "" if point.low is None else f"\n{format_interval(point.low, point.high, metric.unit)}"
    return format_score(point.mean, metric.unit) + interval
