"""What searches found: the score of every setting tried, and what fewer settings would have found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from whichtune.report.charts.axes import WHOLE, metric_label, scale_of
from whichtune.report.charts.chart import Chart, Choice, Spec
from whichtune.report.charts.scales import head_of, is_wide, list_ticks, reach, scale_of_reach
from whichtune.report.charts.style import SERIES, finish, load_altair, series_colours, series_dashes, series_shapes
from whichtune.report.figures import enumerate_words, format_score, plain
from whichtune.report.model import Comparison, MetricHead
from whichtune.report.search import head_search
from whichtune.report.search_model import SearchReport, SearchRow, TriedSetting
from whichtune.report.search_tables import lay_out_search
from whichtune.report.sections import TableSection

HEIGHT = 280
BUDGET = "budget"


def draw_sensitivity(comparison: Comparison) -> Chart | None:
    """Return validation scores against each setting that a search varied; None without a search."""
    report = comparison.search
    rows = _shown(report)
    varied = _list_varied(rows)
    if report is None or not varied:
        return None
    metric = head_search(report)
    datasets = {name: list(_points(rows, name, metric)) for name in varied}
    told = _tell_rest(report)
    return Chart(
        name="sensitivity",
        title="Sensitivity to settings",
        said=(
            "A point is a setting that a search tried, its score the mean over its seeds on the validation split; bars "
            "reach from the least to the greatest seed. The chosen setting of each candidate is ringed."
        ),
        base=_sensitivity([plain(row.candidate) for row in rows]),
        specs={name: _fill(name, datasets[name], metric) for name in varied},
        datasets=datasets,
        choices=(Choice("x", "Setting", tuple((name, name) for name in varied)),),
        tables=tuple(_tables(comparison, "Sensitivity")),
        notes=dict.fromkeys(varied, told),
    )


def draw_budget(comparison: Comparison) -> Chart | None:
    """Return the expected best score against the number of settings tried; None where nothing can be compared."""
    report = comparison.search
    rows = [row for row in _shown(report) if len(row.expected_best) > 1]
    if report is None or not rows:
        return None
    metric = head_search(report)
    times = scale_of(metric)
    points = [
        {"candidate": plain(row.candidate), "x": place + 1, "y": value * times}
        for row in rows
        for place, value in enumerate(row.expected_best)
    ]
    ends = [value * times for row in rows for value in row.expected_best]
    x = {"field": "x", "type": "quantitative", "title": "settings tried", "axis": WHOLE}
    encoding = {"x": x, "y": _score_axis(metric, ends)}
    return Chart(
        name=BUDGET,
        title="Expected best against budget",
        said="The best validation score that so many settings, drawn from those of the first round, would have found.",
        base=_budget([plain(row.candidate) for row in rows]),
        specs={"": {"data": {"name": BUDGET}, "encoding": encoding}},
        datasets={BUDGET: points},
        tables=tuple(_tables(comparison, "Expected best")),
        notes={"": _tell_rest(report)},
    )


def _shown(report: SearchReport | None) -> list[SearchRow]:
    return [] if report is None else report.rows[:SERIES]


def _tell_rest(report: SearchReport) -> list[str]:
    rest = [row.candidate for row in report.rows[SERIES:]]
    return [f"Not drawn: {enumerate_words(rest)}."] if rest else []


def _tables(comparison: Comparison, title: str) -> Iterator[TableSection]:
    for section in lay_out_search(comparison):
        if isinstance(section, TableSection) and section.title.startswith(title):
            yield section


def _list_varied(rows: Sequence[SearchRow]) -> list[str]:
    """Return the settings that are numbers and took two values at least."""
    values: dict[str, set[float]] = {}
    for row in rows:
        for one in row.settings:
            for name, value in one.setting.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    values.setdefault(name, set()).add(float(value))
    return [name for name, own in values.items() if len(own) > 1]


def _points(rows: Sequence[SearchRow], name: str, metric: MetricHead) -> Iterator[dict[str, Any]]:
    times = scale_of(metric)
    for row in rows:
        for one in row.settings:
            value = one.setting.get(name)
            if one.mean is not None and isinstance(value, int | float):
                low, high = (one.mean if end is None else end for end in (one.low, one.high))
                yield {
                    "candidate": plain(row.candidate),
                    "x": float(value),
                    "y": one.mean * times,
                    "low": low * times,
                    "high": high * times,
                    "chosen": one.chosen,
                    "score": format_score(one.mean, metric.unit),
                    "setting": _write(one),
                }


def _write(one: TriedSetting) -> str:
    return plain(", ".join(f"{name} = {value}" for name, value in one.setting.items()))


def _sensitivity(names: Sequence[str]) -> Spec:
    alt = load_altair()
    colour = alt.Color("candidate:N", title=None, sort=names).scale(domain=names, range=series_colours(len(names)))
    shape = alt.Shape("candidate:N", title=None, sort=names).scale(domain=names, range=series_shapes(len(names)))
    chosen = alt.selection_point(fields=["candidate"], bind="legend", name="chosen")
    seen = alt.condition(chosen, alt.value(1.0), alt.value(0.12))
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("setting:N"), alt.Tooltip("score:N")]
    base = alt.Chart().encode(color=colour, opacity=seen)
    line = base.mark_line(strokeWidth=1.6)
    bars = base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    dots = base.mark_point(filled=True, size=60).encode(shape=shape, tooltip=tips)
    rings = base.transform_filter("datum.chosen").mark_point(shape="circle", filled=False, size=260, strokeWidth=2)
    return finish(alt.layer(line, bars, dots.add_params(chosen), rings), HEIGHT)


def _fill(name: str, points: Sequence[dict[str, Any]], metric: MetricHead) -> Spec:
    values = [one["x"] for one in points]
    wide = is_wide(values)
    axis: dict[str, Any] = {"labelExpr": "format(datum.value, datum.value < 0.001 ? '.0e' : ',~r')"}
    axis |= {"values": list_ticks(*reach(values))} if wide else {}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": name.replace("_", " "),
        "scale": scale_of_reach(values),
        "axis": axis,
    }
    ends = [one[end] for one in points for end in ("low", "high")]
    return {"data": {"name": name}, "encoding": {"x": x, "y": _score_axis(metric, ends)}}


def _score_axis(metric: MetricHead, ends: Sequence[float]) -> dict[str, Any]:
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    scale = {"zero": False, "nice": False, "domain": [min(ends) - room, max(ends) + room]}
    return {
        "field": "y",
        "type": "quantitative",
        "title": f"validation {metric_label(metric)}",
        "scale": scale,
        "axis": head_of(),
    }


def _budget(names: Sequence[str]) -> Spec:
    alt = load_altair()
    colour = alt.Color("candidate:N", title=None, sort=names).scale(domain=names, range=series_colours(len(names)))
    dash = alt.StrokeDash("candidate:N", title=None, sort=names).scale(domain=names, range=series_dashes(len(names)))
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("x:Q", title="settings"), alt.Tooltip("y:Q", title="score")]
    base = alt.Chart().encode(color=colour)
    lines = base.mark_line(strokeWidth=1.8).encode(strokeDash=dash)
    return finish(alt.layer(lines, base.mark_point(filled=True, size=36).encode(tooltip=tips)), HEIGHT)
