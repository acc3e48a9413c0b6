"""Quality against cost: a point and its 95 % interval a candidate, baselines as lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whichtune.report.charts.axes import LABELS, CostAxis, list_axes, metric_label, scale_of
from whichtune.report.charts.chart import SEPARATOR, Chart, Choice, Spec
from whichtune.report.charts.scales import head_of, is_wide, list_ticks, reach, scale_of_reach, share_of
from whichtune.report.charts.style import SERIES, finish, load_altair, role, series_colours, series_shapes
from whichtune.report.figures import enumerate_words, format_interval, format_score, plain
from whichtune.report.model import CandidateRow, Comparison, MetricHead
from whichtune.report.sections import TableSection
from whichtune.report.verdict_model import Verdict

METRICS_OFFERED = 4
HEIGHT = 320
OTHERS = "others"
"""Candidates beyond those that have colours of their own."""
RIGHT = 0.55
"""A label beyond this part of the width stands to the left of its point."""
PAGE_WIDTH, PAGE_HEIGHT, CHARACTER, LINE = 680.0, 300.0, 6.5, 15.0
"""Pixels by which labels are taken to cover each other; the legend names the points of those left out."""
CLOSE = 6.0
"""A closer look takes in candidates within so many margins of the best."""
ALL, NEAR = "all", "near"

Point = dict[str, Any]
Box = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def draw_quality(comparison: Comparison, verdict: Verdict | None = None) -> Chart | None:
    """Return the chart of quality against each cost and each metric; None where nothing can be laid out."""
    axes = list_axes(comparison, verdict)
    offered = [one for one in comparison.metrics if one.direction != "neither"][:METRICS_OFFERED]
    if not axes or not offered:
        return None
    specs: dict[str, Spec] = {}
    datasets: dict[str, list[Point]] = {}
    notes: dict[str, list[str]] = {}
    near = _near(comparison)
    named = [plain(row.candidate) for row in comparison.candidates if not row.baseline and row.quality]
    for metric in offered:
        for axis in axes:
            name = SEPARATOR.join((axis.name, metric.name))
            points = datasets[name] = _points(comparison, axis, metric)
            costs = [one["x"] for one in points if not one["baseline"]]
            for look in (ALL, NEAR) if near is not None else (ALL,):
                key = SEPARATOR.join((name, look))
                specs[key] = _fill(name, (axis, metric), costs, near if look == NEAR and near else _whole(points))
                notes[key] = list(_explain(comparison, axis, points))
    looks = ((ALL, "all candidates"), (NEAR, "a closer look at the best"))
    return Chart(
        name="quality",
        title="Quality against cost",
        said=(
            "Each point is a candidate, its mean score over its trainings; the bar is its 95 % interval. "
            "The line joins those that nothing cheaper beats; dashed lines are baselines."
        ),
        base=_skeleton(named),
        specs=specs,
        datasets=datasets,
        choices=(
            Choice("x", "Cost", tuple((axis.name, axis.title) for axis in axes)),
            Choice("y", "Quality", tuple((one.name, one.title) for one in offered)),
            Choice("look", "Show", looks[: 1 if near is None else 2]),
        ),
        tables=tuple(_tabulate(comparison, axes, offered)),
        notes=notes,
    )


def explain_blank(comparison: Comparison, verdict: Verdict | None = None) -> str:
    """Say why there is no chart of quality against cost."""
    scored = [row.candidate for row in comparison.candidates if row.quality]
    if not scored:
        return f"No candidate has a score on the {comparison.split} split."
    if len(scored) == 1:
        return f"One candidate ({scored[0]}): there is nothing to lay it out against."
    if not list_axes(comparison, verdict):
        return "No cost is known of two candidates."
    return "No metric says which way is better."


def _points(comparison: Comparison, axis: CostAxis, metric: MetricHead) -> list[Point]:
    place = [one.name for one in comparison.metrics].index(metric.name)
    times = scale_of(metric)
    points: list[Point] = []
    for row in comparison.candidates:
        own = row.quality[place] if row.quality else None
        cost = axis.values[row.candidate].value
        if own is None or own.mean is None or (cost is None and not row.baseline):
            continue
        low, high = (own.mean if end is None else end for end in (own.low, own.high))
        told = f"{format_score(own.mean, metric.unit)} ({format_interval(own.low, own.high, metric.unit)})"
        points.append(
            {
                "candidate": plain(row.candidate),
                "baseline": row.baseline,
                "x": None if cost is None else cost / axis.scale[0],
                "y": own.mean * times,
                "low": low * times,
                "high": high * times,
                "score": told,
                "cost": axis.write(cost),
            }
        )
    leaders = [one["candidate"] for one in points if not one["baseline"]][:SERIES]
    for one in points:
        one["series"] = one["candidate"] if one["candidate"] in leaders else OTHERS
    _mark_frontier(points, lower=metric.direction == "lower")
    _place_labels(points)
    return points


def _mark_frontier(points: Sequence[Point], *, lower: bool) -> None:
    """Mark the points that no cheaper one beats."""
    drawn = sorted(
        (one for one in points if not one["baseline"]), key=lambda one: (one["x"], one["y"] if lower else -one["y"])
    )
    best = -math.inf
    for one in drawn:
        score = -one["y"] if lower else one["y"]
        if score > best:
            one["front"], best = True, score


def _place_labels(points: Sequence[Point]) -> None:
    """Mark, better points first, those whose label covers neither another label nor another point's interval."""
    drawn = [one for one in points if not one["baseline"]]
    costs = [one["x"] for one in drawn]
    all_ends = [end for one in points for end in (one["low"], one["high"])]
    bottom, top = min(all_ends, default=0.0), max(all_ends, default=1.0)
    heights = [_height(one, bottom, top) for one in drawn]
    shares = [PAGE_WIDTH * share_of(cost, costs) for cost in costs]
    taken = [(share - LINE / 2, share + LINE / 2, own[0], own[2]) for share, own in zip(shares, heights, strict=True)]
    for place, one in enumerate(drawn):
        width, middle = CHARACTER * len(one["candidate"]) + 10, heights[place][1] + LINE / 2
        sides = ("left", "right") if shares[place] > RIGHT * PAGE_WIDTH else ("right", "left")
        for side in sides:
            start = shares[place] + LINE if side == "right" else shares[place] - LINE - width
            box = (start, start + width, middle - LINE / 2, middle + LINE / 2)
            others = [other for at, other in enumerate(taken) if at != place]
            if -30 < start < PAGE_WIDTH - width and not any(_overlap(box, other) for other in others):
                one["label"] = side
                taken.append(box)
                break


def _height(point: Point, bottom: float, top: float) -> tuple[float, float, float]:
    """Return how high a point's interval begins, the point stands and the interval ends, in pixels."""
    low, middle, high = (PAGE_HEIGHT * (point[end] - bottom) / ((top - bottom) or 1) for end in ("low", "y", "high"))
    return min(low, middle - LINE / 2), middle, max(high, middle + LINE / 2)


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[1] and second[0] < first[1] and first[2] < second[3] and second[2] < first[3]


def _skeleton(names: Sequence[str]) -> Spec:
    """Return the layers that every choice shares."""
    alt = load_altair()
    rest = len(names) > SERIES
    named = [*names[:SERIES], *([OTHERS] if rest else [])]
    colours = [*series_colours(min(len(names), SERIES)), *([role("soft")] if rest else [])]
    shapes = [*series_shapes(min(len(names), SERIES)), *(["circle"] if rest else [])]
    colour = alt.Color("series:N", title=None, sort=named).scale(domain=named, range=colours)
    shape = alt.Shape("series:N", title=None, sort=named).scale(domain=named, range=shapes)
    chosen = alt.selection_point(fields=["series"], bind="legend", name="chosen")
    seen = alt.condition(chosen, alt.value(1.0), alt.value(0.15))
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("score:N", title="score"), alt.Tooltip("cost:N", title="cost")]
    base = alt.Chart().transform_filter("!datum.baseline")
    fronts = base.transform_filter("datum.front")
    front = fronts.mark_line(interpolate="step-after", color=role("line"), strokeWidth=2, clip=True)
    bars = base.mark_rule(strokeWidth=2, clip=True).encode(
        y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=colour, opacity=seen
    )
    dots = base.mark_point(filled=True, size=110, opacity=1, clip=True).encode(
        color=colour, shape=shape, opacity=seen, tooltip=tips
    )
    layers = [front, *_baselines(alt), bars, dots.add_params(chosen), *_labels(base)]
    return finish(alt.layer(*layers), HEIGHT)


def _fill(dataset: str, drawn: tuple[CostAxis, MetricHead], costs: Sequence[float], look: tuple[float, float]) -> Spec:
    """Return the specification of one choice: its data, and its two scales with their heads."""
    axis, metric = drawn
    kind = scale_of_reach(costs)
    ends = {"zero": False, "nice": False, "domain": list(look)}
    x = {"field": "x", "type": "quantitative", "title": axis.title + axis.scale[1], "scale": kind}
    y = {"field": "y", "type": "quantitative", "title": metric_label(metric), "scale": ends, "axis": head_of()}
    ticks = {"values": list_ticks(*reach(costs))} if is_wide(costs) else {}
    encoding = {"x": x | {"axis": {"labelExpr": LABELS[axis.unit]} | ticks}, "y": y}
    return {"data": {"name": dataset}, "encoding": encoding}


def _baselines(alt: Any) -> Iterator[Any]:
    flat = alt.Chart().transform_filter("datum.baseline")
    tips = [alt.Tooltip("candidate:N"), alt.Tooltip("score:N", title="score")]
    yield flat.mark_rule(strokeDash=[4, 4], color=role("soft"), clip=True).encode(
        x=alt.value(0), x2=alt.value("width"), tooltip=tips
    )
    yield flat.mark_text(align="left", dy=-7, color=role("soft"), clip=True, opacity=1).encode(
        x=alt.value(4), text="candidate:N"
    )


def _labels(base: Any) -> Iterator[Any]:
    for side, align, shift in (("right", "left", 10), ("left", "right", -10)):
        label = base.transform_filter(f"datum.label == '{side}'")
        yield label.mark_text(align=align, dx=shift, dy=-9, fontWeight=500, clip=True).encode(text="candidate:N")


def _whole(points: Sequence[Point]) -> tuple[float, float]:
    """Return the ends of a scale that all intervals fit into, with a little room."""
    ends = [end for one in points for end in (one["low"], one["high"])]
    room = 0.06 * (max(ends) - min(ends)) if ends else 0.0
    return (min(ends) - room, max(ends) + room) if room else (ends[0] - 1, ends[0] + 1) if ends else (0, 1)


def _near(comparison: Comparison) -> tuple[float, float] | None:
    """Return the ends of a closer look at the first metric; None where it would show what is shown anyway."""
    metric = comparison.metrics[0]
    scored = [row.quality[0] for row in comparison.candidates if row.quality and row.quality[0].mean is not None]
    amount = comparison.margin_amount
    if amount is None or not scored:
        return None
    lower, times = metric.direction == "lower", scale_of(metric)
    means = [(-1 if lower else 1) * (one.mean or 0.0) for one in scored]
    edge = max(means) - CLOSE * amount
    kept = [one for one, mean in zip(scored, means, strict=True) if mean >= edge]
    if len(kept) in {len(scored), 1}:
        return None
    ends = [end for one in kept for end in (one.mean, one.low, one.high) if end is not None]
    room = 0.08 * (max(ends) - min(ends)) or amount
    return (min(ends) - room) * times, (max(ends) + room) * times


def _explain(comparison: Comparison, axis: CostAxis, points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which candidates are not drawn, and why."""
    shown = {one["candidate"] for one in points}
    absent: dict[str, list[str]] = {}
    for row in comparison.candidates:
        if plain(row.candidate) not in shown:
            absent.setdefault(_why(row, axis), []).append(row.candidate)
    for reason, names in absent.items():
        yield f"Not drawn: {enumerate_words(names)} ({reason})."


def _why(row: CandidateRow, axis: CostAxis) -> str:
    if not row.quality:
        return row.reason or "it has no score"
    if axis.values[row.candidate].value is None:
        return axis.values[row.candidate].reason or "its cost was not measured"
    return row.quality[0].reason or "it has no score"


def _tabulate(
    comparison: Comparison, axes: Sequence[CostAxis], metrics: Sequence[MetricHead]
) -> Iterator[TableSection]:
    places = {one.name: place for place, one in enumerate(comparison.metrics)}
    scores: list[tuple[str, ...]] = []
    costs: list[tuple[str, ...]] = []
    for row in comparison.candidates:
        own = [row.quality[places[one.name]] if row.quality else None for one in metrics]
        cells = (
            f"{format_score(None if one is None else one.mean, metric.unit)}\n"
            f"{format_interval(None if one is None else one.low, None if one is None else one.high, metric.unit)}"
            for one, metric in zip(own, metrics, strict=True)
        )
        scores.append((row.candidate, *cells))
        costs.append((row.candidate, *(axis.write(axis.values[row.candidate].value) for axis in axes)))
    heads = ("candidate", *(metric_label(one) for one in metrics))
    yield TableSection("Scores and their 95 % intervals", heads, scores, frozenset(range(1, len(heads))))
    heads = ("candidate", *(axis.title for axis in axes))
    yield TableSection("Costs of the chart", heads, costs, frozenset(range(1, len(heads))))
