"""The benchmark as a chart: a bar a row, its target and its limit marked."""

from __future__ import annotations

from typing import Any

from whichtune.bench.model import Report, RowResult
from whichtune.report.charts.chart import Chart, Spec
from whichtune.report.charts.style import finish, load_altair, role

ROW_HEIGHT = 38
NAME = "bench"


def draw_bench(report: Report) -> Chart | None:
    """Draw the rows that have a speed; None where there is none."""
    rows = [row for row in report.rows if row.unit == "x" and row.measured is not None]
    if not rows:
        return None
    return Chart(
        name=NAME,
        title=f"Times as fast as Trainer + PEFT, {report.baseline} baseline",
        said="A bar is what was measured; the tick the target, the circle what the machine's arithmetic would allow.",
        base=_skeleton([_name(row) for row in rows], min(1.0, *(min(row.ratios) for row in rows))),
        specs={"": {"data": {"name": NAME}}},
        datasets={NAME: [_point(row) for row in rows]},
    )


def _name(row: RowResult) -> str:
    return f"{row.row}: {row.measured:.2f}x"


def _point(row: RowResult) -> dict[str, Any]:
    return {
        "row": _name(row),
        "even": 1.0,
        "measured": row.measured,
        "target": row.target,
        "limit": row.limit,
        "low": min(row.ratios),
        "high": max(row.ratios),
    }


def _skeleton(names: list[str], least: float) -> Spec:
    alt = load_altair()
    y = alt.Y("row:N", title=None, sort=names, axis=alt.Axis(labelLimit=190, ticks=False, domain=False))
    title = "times as fast (bar), target (tick), limit (circle); logarithmic"
    scale = alt.Scale(type="log", domainMin=least)
    base = alt.Chart().encode(y=y)
    bars = base.mark_bar(height={"band": 0.5}, clip=True).encode(
        x=alt.X("measured:Q", title=title, scale=scale), x2="even:Q", color=alt.value(role("c1"))
    )
    spans = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=alt.value(role("ink")))
    targets = base.mark_tick(thickness=3, height={"band": 0.8}).encode(x="target:Q", color=alt.value(role("c2")))
    limits = base.mark_point(shape="circle", size=60, strokeWidth=2).encode(x="limit:Q", color=alt.value(role("c3")))
    return finish(alt.layer(bars, spans, targets, limits), ROW_HEIGHT * len(names) + 10)
