"""What each candidate costs: spent in this study, alone in a probe, in parameters and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from whichtune.records.trial import LatencyFigures, Probe, TrialRecord
from whichtune.report.figures import (
    format_bytes,
    format_count,
    format_mean,
    format_operations,
    format_percent,
    format_seconds,
)
from whichtune.report.model import CandidateRow, Costs, Figure, Missing

NO_MODEL = "a baseline trains no model"
NOTHING_TRAINED = "nothing is trained"
NO_RESULT = "no finished trial"
PROBED = ("step_seconds", "peak_bytes", "saved_bytes", "forward_flops", "backward_flops")
LATENCIES = ("latency_one", "latency_one_merged", "latency_many", "latency_many_merged")
ASKING = ("tokens_in", "tokens_out", "item_seconds")
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
        CostColumn("tokens_in", "tokens in", format_mean, "count"),
        CostColumn("tokens_out", "tokens out", format_mean, "count"),
        CostColumn("item_seconds", "time", format_seconds, "seconds"),
    )
}


def describe_costs(
    trials: Sequence[TrialRecord], probes: Mapping[str, Probe], asked: Mapping[str, float] | None = None
) -> Costs:
    """Return all costs of one candidate from its trials, its probe and the means of its predictions' columns."""
    finished = [one for one in trials if one.status == "finished"]
    costs = Costs(spent_seconds=_spent(trials))
    if not finished:
        _fill(costs, [name for name in COLUMNS if name != "spent_seconds"], NO_RESULT)
        return costs
    for name in ASKING:
        reason = NO_MODEL if finished[0].known_family == "baseline" else None
        setattr(costs, name, _known((asked or {}).get(name), reason))
    costs.training_seconds = _mean([_step_seconds(one) for one in finished], _why_no_steps(finished[0]))
    costs.wall_seconds = _mean([one.wall_seconds for one in finished], "not recorded")
    if finished[0].known_family == "baseline":
        _fill(costs, [*PROBED, *LATENCIES, *SIZES], NO_MODEL)
        return costs
    _add_sizes(costs, finished[0])
    _add_alone(costs, finished, probes)
    if finished[0].known_family == "prompter":
        _blank_training(costs)
    return costs


def list_hidden(rows: Sequence[CandidateRow]) -> set[str]:
    """Return the columns that this study has no use for, so that nobody asks why they are empty.

    Answers in words have tokens; their latencies are those of a prompt and of a new token, not of a forward pass.
    """
    if all(row.family != "prompter" and row.costs.tokens_out.value is None for row in rows):
        return set(ASKING)
    hidden = {name for name in (*ASKING, *LATENCIES) if all(_figure(row, name).value is None for row in rows)}
    return hidden if hidden >= set(LATENCIES) else hidden - set(LATENCIES)


def find_probe(trials: Iterable[TrialRecord], probes: Mapping[str, Probe]) -> Probe | None:
    """Return the probe that a candidate's trials name, where it left a record."""
    return next((probes[one.probe] for one in trials if one.probe is not None and one.probe in probes), None)


def list_missing(rows: Iterable[CandidateRow]) -> list[Missing]:
    """Gather the reasons of empty cost cells: candidates that lack the same columns for one reason stand together."""
    rows = list(rows)
    hidden = list_hidden(rows)
    lacking: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, column in COLUMNS.items():
            figure = _figure(row, name)
            if figure.value is None and name not in hidden:
                lacking.setdefault((row.candidate, figure.reason or "not recorded"), []).append(column.title)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (candidate, reason), columns in lacking.items():
        alike.setdefault((reason, tuple(columns)), []).append(candidate)
    return [
        Missing(reason=reason, columns=list(columns), candidates=names) for (reason, columns), names in alike.items()
    ]


def _figure(row: CandidateRow, name: str) -> Figure:
    figure: Figure = getattr(row.costs, name)
    return figure


def _blank_training(costs: Costs) -> None:
    """Leave a prompter what it has: time and memory of asking, and the size of the model that is asked."""
    steps = (name for name in PROBED if name != "peak_bytes")
    names = ("training_seconds", *steps, "trainable_parameters", "trainable_share", "adapter_bytes")
    _fill(costs, names, NOTHING_TRAINED)


def _fill(costs: Costs, names: Iterable[str], reason: str) -> None:
    for name in names:
        setattr(costs, name, Figure(reason=reason))


def _mean(values: Sequence[float | None], reason: str) -> Figure:
    known = [value for value in values if value is not None]
    return Figure(value=fmean(known)) if known else Figure(reason=reason)


def _spent(trials: Sequence[TrialRecord]) -> Figure:
    known = [one.wall_seconds for one in trials if one.wall_seconds is not None]
    return Figure(value=sum(known)) if known else Figure(reason="no trial is over")


def _why_no_steps(trial: TrialRecord) -> str:
    return NO_MODEL if trial.known_family == "baseline" else "no phase `step` in its records"


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
    probe = find_probe(trials, probes)
    if probe is None:
        named = any(one.probe is not None for one in trials)
        _fill(costs, [*PROBED, *LATENCIES], "its probe left no record" if named else "not probed")
        return
    alone = probe.alone
    for name in PROBED:
        setattr(costs, name, _known(getattr(alone, name), alone.unmeasured.get(name)))
    _add_latencies(costs, alone.latencies, alone.unmeasured.get("latencies"))


def _add_latencies(costs: Costs, latencies: Sequence[LatencyFigures], reason: str | None) -> None:
    passes = [one for one in latencies if one.phase == "forward" and not one.plain]
    if latencies and not passes:
        reason = "timed as prompts and new tokens"
    found = {(one.batch, one.merged): one.median_seconds for one in passes}
    many = max((one.batch for one in passes if one.batch > 1), default=None)
    costs.latency_rows = many
    for name, rows, merged in zip(LATENCIES, (1, 1, many, many), (False, True, False, True), strict=True):
        value = None if rows is None else found.get((rows, merged))
        plain = rows is not None and (rows, False) in found
        why = "it has no merged form of its own" if merged and plain else reason
        setattr(costs, name, _known(value, why))
