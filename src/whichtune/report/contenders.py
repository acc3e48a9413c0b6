"""Which candidates could be the best by the rows that choices are made on: they are worth further trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import Probe, TrialRecord
from whichtune.report.costs import describe_costs, find_probe
from whichtune.report.latency import describe_latencies
from whichtune.report.limits import find_breaches
from whichtune.report.model import CandidateRow
from whichtune.report.pricing import Spending, measured_alone
from whichtune.report.quality import Evidence, gather_evidence, list_metrics
from whichtune.report.stored import group_trials
from whichtune.spec.verdict import LimitsSpec
from whichtune.stats.best import measure_shortfalls

CHOSEN_ON = "validation"
"""The split that choices are made by."""
NO_LIMITS = LimitsSpec()


def find_contenders(folder: StudyFolder, trials: Sequence[TrialRecord], limits: LimitsSpec = NO_LIMITS) -> list[str]:
    """Name the candidates within the limits that are not ruled out on the validation rows, by the verdict's own rule.

    None where fewer than two have scores to compare. Nothing of the test split is read.
    """
    metric = next(iter(list_metrics(trials, CHOSEN_ON)), None)
    grouped = group_trials(trials)
    evidence = {name: gather_evidence(folder, own, CHOSEN_ON) for name, own in grouped.items()}
    samples = {
        name: one.samples[metric.name]
        for name, one in evidence.items()
        if metric is not None and metric.name in one.samples
    }
    outside = _find_outside(folder, grouped, evidence, limits) if limits.given() else set[str]()
    within = [sample for name, sample in samples.items() if name not in outside]
    return [one.name for one in measure_shortfalls(within) if one.alive] if len(within) > 1 else []


def _find_outside(
    folder: StudyFolder,
    trials: Mapping[str, Sequence[TrialRecord]],
    evidence: Mapping[str, Evidence],
    limits: LimitsSpec,
) -> set[str]:
    probes = folder.read_probes()
    spendings = {name: _spend(own, evidence[name], probes) for name, own in trials.items()}
    alone = measured_alone(spendings.values())
    return {name for name, one in spendings.items() if find_breaches(one, limits, alone=alone)}


def _spend(trials: Sequence[TrialRecord], evidence: Evidence, probes: Mapping[str, Probe]) -> Spending:
    any_trial, probe = trials[0], find_probe(trials, probes)
    row = CandidateRow(
        candidate=any_trial.candidate,
        method=any_trial.method,
        kind=any_trial.kind,
        family=any_trial.known_family,
        costs=describe_costs(trials, probes, evidence.asked),
    )
    return Spending(row, trials, 0, probe, describe_latencies(any_trial.candidate, probe))
