"""What candidates can be laid out by: costs, and the metrics they are scored by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whichtune.report.costs import COLUMNS
from whichtune.report.figures import format_bytes, format_count, format_operations, format_seconds
from whichtune.report.model import CandidateRow, Comparison, Figure, MetricHead
from whichtune.report.verdict_model import Verdict

VERDICT = "verdict"
"""The cost that the verdict uses."""
FLOPS = "flops"
SECONDS, BYTES, COUNT = "seconds", "bytes", "count"
TITLES = {
    "training_seconds": "time of one training",
    "step_seconds": "time of one training step, alone",
    "peak_bytes": "peak memory of training, alone",
    FLOPS: "operations of one training step",
    "latency_one": "latency of one row",
    "latency_many": "latency of a batch",
    "item_seconds": "time of one answer",
    "trainable_parameters": "trainable parameters",
    "adapter_bytes": "size of what is saved",
    "spent_seconds": "time spent on all its trials",
}
"""Costs in the order in which they are offered."""
_UNITS = {SECONDS: SECONDS, BYTES: BYTES, "operations": COUNT, COUNT: COUNT}
_WRITERS: dict[str, Callable[[float | None], str]] = {SECONDS: format_seconds, BYTES: format_bytes}
LABELS = {
    SECONDS: "format(datum.value, ',~r')",
    BYTES: "replace(format(datum.value, '.3~s'), /([kMGT]?)$/, ' $1') + 'B'",
    COUNT: "format(datum.value, '.3~s')",
}
"""Vega expressions that write a tick of each unit."""
WHOLE = {"tickMinStep": 1, "labelExpr": "datum.value % 1 ? '' : format(datum.value, ',d')"}
"""An axis of counts: Vega puts ticks between two of them where there are few, and those are left without a label."""
TIMES = ((14_400.0, 3600.0, "hours"), (600.0, 60.0, "minutes"), (1.0, 1.0, "seconds"), (0.0, 1e-3, "milliseconds"))
"""From so many seconds on times are drawn in a unit of so many seconds."""


def choose_time(most: float) -> tuple[float, str]:
    """Return the unit that times up to some seconds are drawn in: how many seconds it has, and its name."""
    return next((seconds, name) for least, seconds, name in TIMES if most >= least)


@dataclass(frozen=True)
class CostAxis:
    """A cost to lay candidates out by."""

    name: str
    title: str
    unit: str
    values: dict[str, Figure]
    """Candidate to cost; the best candidate first."""

    @property
    def scale(self) -> tuple[float, str]:
        """What a cost is divided by to be drawn, and how that unit is named behind the title."""
        if self.unit != SECONDS:
            return 1.0, ""
        divisor, name = choose_time(max((one.value or 0.0 for one in self.values.values()), default=0.0))
        return divisor, f" ({name})"

    def write(self, value: float | None) -> str:
        """Write a cost as a person reads it."""
        writer = {FLOPS: format_operations, "trainable_parameters": format_count}.get(self.name)
        return (writer or _WRITERS.get(self.unit, format_operations))(value)


def list_axes(comparison: Comparison, verdict: Verdict | None) -> list[CostAxis]:
    """Return the costs that two candidates at least have, the verdict's own first."""
    rows = comparison.candidates
    axes = [] if verdict is None else [_verdict_axis(comparison, verdict)]
    for name, title in TITLES.items():
        unit = COUNT if name == FLOPS else _UNITS[COLUMNS[name].unit]
        axes.append(CostAxis(name, title, unit, {row.candidate: _read(row, name) for row in rows}))
    return [axis for axis in axes if sum(one.value is not None for one in axis.values.values()) > 1]


def metric_label(metric: MetricHead) -> str:
    """Head an axis of scores with its unit and its better end."""
    unit = {"share": " (hundredths)", "nats": " (nats)"}.get(metric.unit, "")
    return f"{metric.title}{unit}{', lower is better' if metric.direction == 'lower' else ''}"


def scale_of(metric: MetricHead) -> float:
    """Return what a score is multiplied by to be drawn: shares are drawn in hundredths."""
    return 100.0 if metric.unit == "share" else 1.0


def _read(row: CandidateRow, name: str) -> Figure:
    if name != FLOPS:
        figure: Figure = getattr(row.costs, name)
        return figure
    forward, backward = row.costs.forward_flops, row.costs.backward_flops
    if forward.value is None or backward.value is None:
        return Figure(reason=forward.reason or backward.reason)
    return Figure(value=forward.value + backward.value)


def _verdict_axis(comparison: Comparison, verdict: Verdict) -> CostAxis:
    held = {one.candidate: Figure(value=one.cost, reason=one.reason) for one in verdict.prices}
    unit = {"seconds": SECONDS, "peak_bytes": BYTES}.get(verdict.axis, COUNT)
    blank = Figure(reason="it takes no part in the verdict")
    values = {row.candidate: held.get(row.candidate, blank) for row in comparison.candidates}
    return CostAxis(VERDICT, "the verdict's cost", unit, values)
