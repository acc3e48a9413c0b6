"""A chart as a file of its own: SVG, PNG or PDF, on white."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whichtune.errors import InputError, RecordError, did_you_mean
from whichtune.fetch.atomic import writing
from whichtune.records.folder import StudyFolder
from whichtune.report.charts.chart import SEPARATOR, Chart, Spec
from whichtune.report.charts.learning import draw_learning
from whichtune.report.charts.ledger import draw_ledger
from whichtune.report.charts.quality import draw_quality, explain_blank
from whichtune.report.charts.search import draw_budget, draw_sensitivity
from whichtune.report.charts.sizes import draw_sizes
from whichtune.report.charts.style import LIGHT, configure, load_vl_convert, paint
from whichtune.report.model import Comparison

WIDTH = 760
"""Pixels, or points in a PDF."""
SCALE = 2.0
"""Pixels of a PNG for each of the chart's own."""
FILE_FONT = "Arial, Helvetica, sans-serif"
VEGA_LITE = "6.4"

Builder = Callable[[StudyFolder, Comparison], Chart | None]

FIGURES: Mapping[str, Builder] = {
    "quality": lambda _, comparison: draw_quality(comparison, comparison.verdict),
    "learning": draw_learning,
    "sizes": lambda _, comparison: draw_sizes(comparison),
    "ledger": lambda folder, comparison: draw_ledger(
        comparison, folder.read_trials(), folder.read_trials("search"), folder.read_trials("size")
    ),
    "sensitivity": lambda _, comparison: draw_sensitivity(comparison),
    "budget": lambda _, comparison: draw_budget(comparison),
}
"""Every figure by the name that `report --figure` knows it by."""
NEEDS: Mapping[str, str] = {
    "learning": "a training that left a curve",
    "sizes": "candidates trained on several numbers of rows (`sizes:` in the study)",
    "ledger": "trials whose time was recorded",
    "sensitivity": "a search of settings (`search:` in the study)",
    "budget": "a search of settings (`search:` in the study)",
}
"""What a figure is drawn from; the one of quality looks closer."""


def draw_figure(folder: StudyFolder, comparison: Comparison, name: str) -> Chart:
    """Return a figure by its name, or say that the study has nothing to draw it from."""
    if name not in FIGURES:
        raise InputError("--figure", value=name, allowed=", ".join(FIGURES), remedy=did_you_mean(name, FIGURES))
    chart = FIGURES[name](folder, comparison)
    if chart is None:
        remedy = explain_blank(comparison, comparison.verdict) if name == "quality" else f"it needs {NEEDS[name]}"
        raise RecordError(f"{folder.path}: nothing to draw this figure from", value=name, remedy=remedy)
    return chart


def choose_key(chart: Chart, asked: Mapping[str, str]) -> str:
    """Return the key of a chart's specification for some choices; the others are as they are shown at first."""
    known = {choice.name: [value for value, _ in choice.options] for choice in chart.choices}
    for name, value in asked.items():
        if name not in known:
            allowed = ", ".join(f"{one}={'|'.join(values)}" for one, values in known.items())
            raise InputError("--choose", value=name, allowed=allowed, remedy=did_you_mean(name, known))
        if value not in known[name]:
            told = did_you_mean(value, known[name])
            raise InputError(f"--choose {name}", value=value, allowed=", ".join(known[name]), remedy=told)
    return SEPARATOR.join(asked.get(name, values[0]) for name, values in known.items())


def save_chart(chart: Chart, key: str, path: Path, kind: str) -> None:
    """Write one specification of a chart as `svg`, `png` or `pdf`."""
    made = _draw(_settle(chart, key), kind)
    with writing(path) as temporary:
        temporary.write_bytes(made)


def _settle(chart: Chart, key: str) -> Spec:
    """Return a specification that needs no page around it: a width, colours, a font."""
    spec = chart.whole(key) | {"width": WIDTH, "title": {"text": chart.title, "anchor": "start", "offset": 18}}
    config = configure() | {"background": "#ffffff", "font": FILE_FONT}
    return paint(spec | {"config": config, "padding": 12}, LIGHT)


def _draw(spec: Spec, kind: str) -> bytes:
    vl_convert: Any = load_vl_convert()
    if kind == "svg":
        told: str = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
        return told.encode()
    if kind == "pdf":
        return vl_convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE)
    return vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=SCALE)
