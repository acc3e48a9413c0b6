"""Data-size curves: score against the number of labelled rows, a line a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from whichtune.report.charts.axes import metric_label, scale_of
from whichtune.report.charts.chart import Chart, Spec
from whichtune.report.charts.scales import head_of, scale_of_reach
from whichtune.report.charts.style import (
    SERIES,
    finish,
    load_altair,
    series_colours,
    series_dashes,
    series_shapes,
)
from whichtune.report.figures import enumerate_words, format_interval, format_score, plain
from whichtune.report.model import Comparison, MetricHead
from whichtune.report.sections import TableSection
from whichtune.report.size_model import SizeCurve
from whichtune.report.size_tables import lay_out_sizes, size_metric

HEIGHT = 300
SIZES = "sizes"


def draw_sizes(comparison: Comparison) -> Chart | None:
    """Return each candidate's score against its labelled rows; None without several sizes."""
    report = comparison.sizes
    if report is None or len({point.size for curve in report.curves for point in curve.points}) < 2:
        return None
    metric = size_metric(report)
    shown, rest = report.curves[:SERIES], [curve.candidate for curve in report.curves[SERIES:]]
    points = list(_points(shown, metric))
    sizes = sorted({point["x"] for point in points})
    ends = [point[end] for point in points for end in ("low", "high")]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    y = {"field": "y", "type": "quantitative", "title": metric_label(metric), "axis": head_of()}
    y["scale"] = {"zero": False, "nice": False, "domain": [min(ends) - room, max(ends) + room]}
    title = "labelled rows (training and validation)"
    x = {"field": "x", "type": "quantitative", "title": title, "scale": scale_of_reach(sizes)}
    x["axis"] = {"values": sizes, "format": ",d"}
    return Chart(
        name=SIZES,
        title="Quality by labelled rows",
        said="A line is a candidate; its bars are 95 % intervals over chains of subsets.",
        base=_skeleton([plain(curve.candidate) for curve in shown]),
        specs={"": {"data": {"name": SIZES}, "encoding": {"x": x, "y": y}}},
        datasets={SIZES: points},
        tables=tuple(one for one in lay_out_sizes(comparison) if isinstance(one, TableSection)),
        notes={"": [f"Not drawn: {enumerate_words(rest)}."] if rest else []},
    )


def _points(curves: Sequence[SizeCurve], metric: MetricHead) -> Iterator[dict[str, Any]]:
    times = scale_of(metric)
    for curve in curves:
        for point in curve.points:
            low, high = (point.mean if end is None else end for end in (point.low, point.high))
            interval = format_interval(point.low, point.high, metric.unit)
            yield {
                "candidate": plain(curve.candidate),
                "x": point.size,
                "y": point.mean * times,
                "low": low * times,
                "high": high * times,
                "score": f"{format_score(point.mean, metric.unit)} ({interval})",
            }


def _skeleton(names: Sequence[str]) -> Spec:
    alt = load_altair()
    colour = alt.Color("candidate:N", title=None, sort=names).scale(domain=names, range=series_colours(len(names)))
    shape = alt.Shape("candidate:N", title=None, sort=names).scale(domain=names, range=series_shapes(len(names)))
    dash = alt.StrokeDash("candidate:N", legend=None, sort=names).scale(domain=names, range=series_dashes(len(names)))
    chosen = alt.selection_point(fields=["candidate"], bind="legend", name="chosen")
    seen = alt.condition(chosen, alt.value(1.0), alt.value(0.12))
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("x:Q", title="rows"), alt.Tooltip("score:N")]
    base = alt.Chart().encode(color=colour, opacity=seen)
    bars = base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    dots = base.mark_point(filled=True, size=70).encode(shape=shape, tooltip=tips)
    return finish(alt.layer(base.mark_line().encode(strokeDash=dash), bars, dots.add_params(chosen)), HEIGHT)
