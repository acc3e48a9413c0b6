"""Learning curves: training loss and validation score against the steps, a line a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from whichtune.records.folder import StudyFolder
from whichtune.report.charts.axes import WHOLE, metric_label, scale_of
from whichtune.report.charts.chart import Chart, Choice, Spec
from whichtune.report.charts.curves import Curve, read_curve
from whichtune.report.charts.scales import head_of
from whichtune.report.charts.style import SERIES, finish, load_altair, series_colours, series_dashes
from whichtune.report.figures import DASH, enumerate_words, plain
from whichtune.report.model import CandidateRow, Comparison
from whichtune.report.sections import TableSection

HEIGHT = 260
LOSS, SCORE = "loss", "validation"


def draw_learning(folder: StudyFolder, comparison: Comparison) -> Chart | None:
    """Return the learning curves of the best candidates that train; None where no training left one."""
    trained = [row for row in comparison.candidates if row.family == "tuner" and row.trial_ids]
    shown = trained[:SERIES]
    curves = [curve for row in shown for curve in _read(folder, row)]
    datasets = {LOSS: list(_rows(curves, LOSS, 1.0)), SCORE: list(_rows(curves, SCORE, _times(comparison)))}
    offered = [name for name in (LOSS, SCORE) if len({row["step"] for row in datasets[name]}) > 1]
    if not offered:
        return None
    names = [plain(row.candidate) for row in shown if any(curve.candidate == row.candidate for curve in curves)]
    titles = {LOSS: "training loss (nats)", SCORE: _score_title(comparison)}
    rest = [row.candidate for row in trained[SERIES:]]
    told = [f"Not drawn: {enumerate_words(rest)}."] if rest else []
    base = _skeleton(names, several=any(len(row.seeds) > 1 for row in shown))
    return Chart(
        name="learning",
        title="Learning curves",
        said=(
            "A line is one training; its loss is averaged over parts of its steps. "
            "Validation scores show single trainings and flatter where settings were chosen by them."
        ),
        base=base,
        specs={name: _fill(name, titles[name]) | _without_dots(base, name) for name in offered},
        datasets={name: datasets[name] for name in offered},
        choices=(Choice("y", "Curve", tuple((name, titles[name]) for name in offered)),),
        tables=(_tabulate(curves, comparison),),
        notes=dict.fromkeys(offered, told),
    )


def _read(folder: StudyFolder, row: CandidateRow) -> Iterator[Curve]:
    for trial, seed in zip(row.trial_ids, row.seeds, strict=True):
        curve = read_curve(folder, trial, row.candidate, seed)
        if curve.losses or curve.validations:
            yield curve


def _times(comparison: Comparison) -> float:
    return scale_of(comparison.metrics[0]) if comparison.metrics else 1.0


def _score_title(comparison: Comparison) -> str:
    """Head the axis of validations: their score is the first metric, turned so that more is better."""
    if not comparison.metrics:
        return "validation score"
    first = comparison.metrics[0]
    if first.direction == "lower":
        return f"validation {first.title}, negated"
    return f"validation {metric_label(first)}"


def _rows(curves: Sequence[Curve], name: str, times: float) -> Iterator[dict[str, Any]]:
    for curve in curves:
        for step, value in curve.losses if name == LOSS else curve.validations:
            yield {
                "candidate": plain(curve.candidate),
                "seed": curve.seed,
                "step": step,
                "value": float(f"{value * times:.5g}"),
            }


def _skeleton(names: Sequence[str], *, several: bool) -> Spec:
    alt = load_altair()
    colour = alt.Color("candidate:N", title=None, sort=names).scale(domain=names, range=series_colours(len(names)))
    dash = alt.StrokeDash("candidate:N", title=None, sort=names).scale(domain=names, range=series_dashes(len(names)))
    chosen = alt.selection_point(fields=["candidate"], bind="legend", name="chosen")
    seen = alt.condition(chosen, alt.value(0.75 if several else 1.0), alt.value(0.08))
    tips = [alt.Tooltip(name) for name in ("candidate:N", "seed:Q", "step:Q", "value:Q")]
    base = alt.Chart().encode(color=colour, detail="seed:N", opacity=seen)
    lines = base.mark_line(strokeWidth=1.6).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=26).encode(tooltip=tips)
    return finish(alt.layer(lines.add_params(chosen), dots), HEIGHT)


def _without_dots(base: Spec, name: str) -> Spec:
    """Validations are few and have a point each; losses are a line alone."""
    return {"layer": base["layer"][:1]} if name == LOSS else {}


def _fill(name: str, title: str) -> Spec:
    x = {"field": "step", "type": "quantitative", "title": "training step", "axis": WHOLE}
    y = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}, "axis": head_of()}
    return {"data": {"name": name}, "encoding": {"x": x, "y": y}}


def _tabulate(curves: Sequence[Curve], comparison: Comparison) -> TableSection:
    times = _times(comparison)
    rows: list[tuple[str, ...]] = []
    for curve in curves:
        first, last = (f"{curve.losses[place][1]:.4f}" if curve.losses else DASH for place in (0, -1))
        best = max(curve.validations, key=lambda one: one[1], default=None)
        told = (DASH, DASH, DASH)
        if best is not None:
            told = (f"{best[1] * times:.4g}", f"{best[0]:,}", f"{curve.validations[-1][1] * times:.4g}")
        rows.append((curve.candidate, str(curve.seed), first, last, *told))
    return TableSection(
        title="Trainings",
        columns=("candidate", "seed", "loss at first", "loss at last", "best validation", "at step", "last validation"),
        rows=rows,
        right=frozenset(range(1, 7)),
        note="Losses are means over the first and the last part of the steps.",
    )
