"""What each candidate costs: spent in this study, alone in a probe, in parameters and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from whichtune.records.trial import LatencyFigures, Probe, TrialRecord
from whichtune.report.figures import format_bytes, format_count, format_operations, format_percent, format_seconds
from whichtune.report.model import CandidateRow, Costs, Figure, Missing

NO_MODEL = "a baseline trains no model"
NO_RESULT = "no finished trial"
PROBED = ("step_seconds", "peak_bytes", "saved_bytes", "forward_flops", "backward_flops")
LATENCIES = ("latency_one", "latency_one_merged", "latency_many", "latency_many_merged")
SIZES = ("trainable_parameters", "trainable_share", "total_parameters", "adapter_bytes")


@dataclass(frozen=True)
class CostColumn:
    """How a cost is headed and written."""

    name: str
    title: str
    write: Callable[[float | None], str]
    unit: str
    """Unit of the plain value, for tables that are read by programs."""


COLUMNS = {
    column.name: column
    for column in (
        CostColumn("training_seconds", "training", format_seconds, "seconds"),
        CostColumn("wall_seconds", "whole trial", format_seconds, "seconds"),
        CostColumn("spent_seconds", "spent in all", format_seconds, "seconds"),
        CostColumn("step_seconds", "one step", format_seconds, "seconds"),
        CostColumn("peak_bytes", "peak", format_bytes, "bytes"),
        CostColumn("saved_bytes", "kept for backward", format_bytes, "bytes"),
        CostColumn("forward_flops", "FLOPs forward", format_operations, "operations"),
        CostColumn("backward_flops", "FLOPs backward", format_operations, "operations"),
        CostColumn("latency_one", "1 row", format_seconds, "seconds"),
        CostColumn("latency_one_merged", "1 row merged", format_seconds, "seconds"),
        CostColumn("latency_many", "batch", format_seconds, "seconds"),
        CostColumn("latency_many_merged", "batch merged", format_seconds, "seconds"),
        CostColumn("trainable_parameters", "trainable", format_count, "count"),
        CostColumn("trainable_share", "share", format_percent, "share"),
        CostColumn("total_parameters", "total", format_count, "count"),
        CostColumn("adapter_bytes", "saved adapter", format_bytes, "bytes"),
    )
}


def describe_costs(trials: Sequence[TrialRecord], probes: Mapping[str, Probe]) -> Costs:
    """Return all costs of one candidate from its trials and its probe."""
    finished = [one for one in trials if one.status == "finished"]
    costs = Costs(spent_seconds=_spent(trials))
    if not finished:
        _fill(costs, [name for name in COLUMNS if name != "spent_seconds"], NO_RESULT)
        return costs
    costs.training_seconds = _mean([_step_seconds(one) for one in finished], "no phase `step` in its records")
    costs.wall_seconds = _mean([one.wall_seconds for one in finished], "not recorded")
    if finished[0].baseline:
        _fill(costs, [*PROBED, *LATENCIES, *SIZES], NO_MODEL)
        return costs
    _add_sizes(costs, finished[0])
    _add_alone(costs, finished, probes)
    return costs


def list_missing(rows: Iterable[CandidateRow]) -> list[Missing]:
    """Gather the reasons of empty cost cells: candidates that lack the same columns for one reason stand together."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, column in COLUMNS.items():
            figure: Figure = getattr(row.costs, name)
            if figure.value is None:
                lacking.setdefault((row.candidate, figure.reason or "not recorded"), []).append(column.title)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (candidate, reason), columns in lacking.items():
        alike.setdefault((reason, tuple(columns)), []).append(candidate)
    return [
        Missing(reason=reason, columns=list(columns), candidates=names) for (reason, columns), names in alike.items()
    ]


def _fill(costs: Costs, names: Iterable[str], reason: str) -> None:
    for name in names:
        setattr(costs, name, Figure(reason=reason))


def _mean(values: Sequence[float | None], reason: str) -> Figure:
    known = [value for value in values if value is not None]
    return Figure(value=fmean(known)) if known else Figure(reason=reason)


def _spent(trials: Sequence[TrialRecord]) -> Figure:
    known = [one.wall_seconds for one in trials if one.wall_seconds is not None]
    return Figure(value=sum(known)) if known else Figure(reason="no trial is over")


def _step_seconds(trial: TrialRecord) -> float | None:
    return trial.phases["step"].seconds if "step" in trial.phases else None


def _add_sizes(costs: Costs, trial: TrialRecord) -> None:
    """Add parameter counts and adapter size, which do not depend on the seed."""
    counts, why = trial.parameters, trial.unmeasured
    known: dict[str, float | None] = {"trainable_parameters": counts.trainable, "total_parameters": counts.total}
    if counts.trainable is not None and counts.total:
        known["trainable_share"] = counts.trainable / counts.total
    known["adapter_bytes"] = trial.adapter_bytes
    for name in SIZES:
        dotted = {"trainable_parameters": "parameters.trainable", "total_parameters": "parameters.total"}.get(
            name, name
        )
        setattr(costs, name, _known(known.get(name), why.get(dotted)))


def _known(value: float | None, reason: str | None) -> Figure:
    return Figure(reason=reason or "not recorded") if value is None else Figure(value=value)


def _add_alone(costs: Costs, trials: Sequence[TrialRecord], probes: Mapping[str, Probe]) -> None:
    """Add what the candidate's probe measured, or why there is none."""
    named = [one.probe for one in trials if one.probe is not None]
    probe = next((probes[name] for name in named if name in probes), None)
    if probe is None:
        _fill(costs, [*PROBED, *LATENCIES], "its probe left no record" if named else "not probed")
        return
    alone = probe.alone
    for name in PROBED:
        setattr(costs, name, _known(getattr(alone, name), alone.unmeasured.get(name)))
    _add_latencies(costs, alone.latencies, alone.unmeasured.get("latencies"))


def _add_latencies(costs: Costs, latencies: Sequence[LatencyFigures], reason: str | None) -> None:
    found = {(one.batch, one.merged): one.median_seconds for one in latencies}
    many = max((one.batch for one in latencies if one.batch > 1), default=None)
    costs.latency_rows = many
    for name, rows, merged in zip(LATENCIES, (1, 1, many, many), (False, True, False, True), strict=True):
        value = None if rows is None else found.get((rows, merged))
        plain = rows is not None and (rows, False) in found
        why = "it has no merged form of its own" if merged and plain else reason
        setattr(costs, name, _known(value, why))
