"""How charts look: colours by role, so that one specification serves light, dark and paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from whichtune.errors import InputError

if TYPE_CHECKING:
    import types

SERIES = 10
"""So many candidates have colours of their own; a chart of more shows the first."""
LIGHT = {
    "ink": "#1c2126", "soft": "#5b6570", "line": "#d9dde2", "paper": "#ffffff", "band": "#e9eff5",
    "c1": "#2f6398", "c2": "#c2502f", "c3": "#2f8562", "c4": "#84549b", "c5": "#a87908",
    "c6": "#2492a6", "c7": "#a83e68", "c8": "#66707a", "c9": "#6d8420", "c10": "#96603a",
}  # fmt: skip
"""Roles and their colours on white."""
DARK = {
    "ink": "#e6e9ec", "soft": "#9da7b1", "line": "#343b43", "paper": "#15191d", "band": "#1f2a35",
    "c1": "#7db2e8", "c2": "#f0896b", "c3": "#6fc59c", "c4": "#c49bd9", "c5": "#e0b64f",
    "c6": "#74cddd", "c7": "#e58bb0", "c8": "#a9b2bb", "c9": "#b3c866", "c10": "#d69e74",
}  # fmt: skip
"""The same on near-black."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((1, 0), (6, 3), (2, 2))
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def load_altair() -> types.ModuleType:
    """Import Altair, or say how it is installed."""
    return _load("altair")


def load_vl_convert() -> types.ModuleType:
    """Import vl-convert, or say how it is installed."""
    return _load("vl_convert")


def _load(name: str) -> types.ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        thing, remedy = "charts need the packages altair and vl-convert-python", "pip install 'whichtune[report]'"
        raise InputError(thing, remedy=remedy) from error


def role(name: str) -> str:
    """Return a colour by its role, as a style sheet resolves it."""
    return f"var(--{name})"


def series_colours(count: int) -> list[str]:
    """Return the colours of the first candidates."""
    return [role(f"c{place % SERIES + 1}") for place in range(count)]


def series_shapes(count: int) -> list[str]:
    """Return the shapes of the first candidates' points."""
    return [SHAPES[place % len(SHAPES)] for place in range(count)]


def series_dashes(count: int) -> list[list[int]]:
    """Return the dashes of the first candidates' lines: five colours apart, a dash tells more than a hue."""
    return [list(DASHES[place // 5 % len(DASHES)]) for place in range(count)]


def configure() -> dict[str, Any]:
    """Return Vega-Lite's configuration: quiet axes, legends below the chart, colours by role."""
    axis = {
        "labelColor": role("soft"),
        "titleColor": role("ink"),
        "domainColor": role("line"),
        "tickColor": role("line"),
        "gridColor": role("line"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 10,
        "tickCount": 6,
        "labelOverlap": True,
        "gridOpacity": 0.6,
    }
    legend = {
        "orient": "bottom",
        "direction": "horizontal",
        "labelColor": role("ink"),
        "titleColor": role("soft"),
        "labelFontSize": 12,
        "symbolStrokeWidth": 2,
        "labelLimit": 260,
        "columns": 3,
        "rowPadding": 4,
        "columnPadding": 16,
    }
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "aria": False,
        "axis": axis,
        "axisX": {"grid": False},
        "legend": legend,
        "text": {"color": role("ink"), "fontSize": 12},
        "rule": {"color": role("soft")},
    }


def finish(chart: Any, height: int) -> dict[str, Any]:
    """Turn an Altair chart into a specification that is as wide as its place and has no data of its own."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict(validate=False)
    for part in (spec, *spec.get("layer", ())):
        part.pop("data", None)
    for name in ("config", "datasets", "$schema"):
        spec.pop(name, None)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def paint(value: Any, colours: dict[str, str]) -> Any:
    """Replace roles by colours, for files that know no style sheet."""
    if isinstance(value, dict):
        return {key: paint(each, colours) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [paint(each, colours) for each in value]
    if isinstance(value, str) and value.startswith("var(--") and value.endswith(")"):
        return colours.get(value[6:-1], value)
    return value


def known_names(names: Sequence[str]) -> list[str]:
    """Return the names that have colours of their own."""
    return list(names)[:SERIES]
