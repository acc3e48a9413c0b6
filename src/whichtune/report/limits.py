"""Which of a user's limits a candidate breaks, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from whichtune.report.model import Figure
from whichtune.report.pricing import Spending, answer_seconds, train_seconds
from whichtune.spec.verdict import LimitsSpec

UNITS = {
    "peak_gb": ("GB", 1e-9),
    "latency_ms": ("ms", 1e3),
    "adapter_mb": ("MB", 1e-6),
    "train_minutes": ("min", 1 / 60),
}
"""Limit to its unit and what turns bytes or seconds into it."""
FREE = Figure(value=0.0)
UNMEASURED = "an amount that was not measured"


@dataclass(frozen=True)
class Breach:
    """A limit that is broken, or that a candidate is not known to keep."""

    limit: str
    allowed: float
    value: float | None
    """In the limit's unit; None where it was not measured."""
    reason: str = ""

    @property
    def excess(self) -> float | None:
        """How far beyond the limit, in its unit."""
        return None if self.value is None else self.value - self.allowed

    @property
    def over(self) -> str:
        """How far beyond the limit, in words."""
        unit = UNITS[self.limit][0]
        return UNMEASURED if self.excess is None else write_amount(self.excess, unit)

    @property
    def clause(self) -> str:
        """Say which limit and by how much."""
        unit = UNITS[self.limit][0]
        if self.value is None:
            return f"{self.limit}: not known ({self.reason}), limit {self.allowed:g} {unit}"
        return f"{self.limit}: {write_amount(self.value, unit)}, limit {self.allowed:g} {unit}, over by {self.over}"


def find_breaches(one: Spending, limits: LimitsSpec, *, alone: bool) -> list[Breach]:
    """Return the limits that a candidate with a result breaks, or is not known to keep."""
    given = limits.given()
    return list(_breaches(given, _needs(one, alone=alone))) if given else []


def find_nearest(breaches: Mapping[str, Sequence[Breach]]) -> tuple[str, Breach]:
    """Return the candidate nearest to the limits, by its worst excess relative to the limit, and that breach."""
    worst = {name: max(own, key=_distance) for name, own in breaches.items()}
    name = min(worst, key=lambda each: (_distance(worst[each]), each))
    return name, worst[name]


def write_amount(value: float, unit: str) -> str:
    """Write an amount in a limit's unit, with three digits."""
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"


def _needs(one: Spending, *, alone: bool) -> dict[str, Figure]:
    """What a candidate takes, in bytes and seconds; a baseline has no model, and nothing is trained for an answer."""
    baseline, trained = one.row.family == "baseline", one.row.family == "tuner"
    return {
        "peak_gb": FREE if baseline else one.row.costs.peak_bytes,
        "latency_ms": answer_seconds(one, alone=alone),
        "adapter_mb": one.row.costs.adapter_bytes if trained else FREE,
        "train_minutes": train_seconds(one, alone=alone),
    }


def _breaches(given: Mapping[str, float], needs: Mapping[str, Figure]) -> Iterator[Breach]:
    for limit, allowed in given.items():
        figure, scale = needs[limit], UNITS[limit][1]
        value = None if figure.value is None else figure.value * scale
        if value is None or value > allowed:
            yield Breach(limit, allowed, value, figure.reason or "not recorded")


def _distance(breach: Breach) -> float:
    return float("inf") if breach.excess is None else breach.excess / breach.allowed
