"""Where scales begin and end, and where a logarithmic one has its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

DECADES = 8.0
"""Values whose greatest is so many times their least are drawn on a logarithmic scale."""


def reach(values: Sequence[float]) -> list[float]:
    """Return the ends of a scale that all values fit into, with a little room."""
    least, most = min(values, default=0.0), max(values, default=1.0)
    if is_wide(values):
        room = (most / least) ** 0.04
        return [least / room, most * room]
    if from_zero(values):
        return [0.0, most * 1.04 or 1.0]
    room = 0.05 * (most - least) or 0.5 * most or 1.0
    return [least - room, most + room]


def scale_of_reach(values: Sequence[float]) -> dict[str, Any]:
    """Return Vega-Lite's scale for values."""
    kind = {"type": "log"} if is_wide(values) else {"type": "linear", "zero": False}
    return kind | {"nice": False, "domain": reach(values)}


def is_wide(values: Sequence[float]) -> bool:
    """Whether values are laid out by their logarithms."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= DECADES


def from_zero(values: Sequence[float]) -> bool:
    """Whether a scale begins at zero: not where all values lie close together, far from it."""
    return not values or 0 <= min(values) < max(values) / 2


def share_of(value: float, values: Sequence[float]) -> float:
    """Return how far along its scale a value stands, 0 to 1."""
    least, most = reach(values)
    if is_wide(values):
        return math.log(value / least) / math.log(most / least)
    return (value - least) / (most - least)


def list_ticks(least: float, most: float) -> list[float]:
    """Return the ticks of a logarithmic scale: 1, 2 and 5 of each decade, or the decades alone where there are many."""
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    steps = (1.0, 2.0, 5.0) if len(decades) <= 4 else (1.0,)
    ticks = (float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps)
    return [tick for tick in ticks if least <= tick <= most]


def head_of() -> dict[str, Any]:
    """Return an axis whose title stands above it, across the page: a turned one costs a phone a tenth of its width."""
    return {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": -40, "titleY": -14}
