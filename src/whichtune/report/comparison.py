"""From a study's folder to its comparison; reads records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import Probe, TrialRecord
from whichtune.report import notes
from whichtune.report.answers import read_answers
from whichtune.report.by_type import Kinds, find_kinds, tabulate_types
from whichtune.report.costs import describe_costs, find_probe, list_missing
from whichtune.report.groups import describe_groups, group_metric_of, list_groups
from whichtune.report.latency import answer_latencies, describe_latencies
from whichtune.report.model import CandidateRow, Comparison, LatencyRow, MetricHead, TypeTable
from whichtune.report.pricing import Spending
from whichtune.report.quality import (
    SPLIT,
    Evidence,
    compare_all,
    describe_quality,
    find_disagreements,
    gather_evidence,
    list_metrics,
)
from whichtune.report.scope import list_scope
from whichtune.report.search import report_searches
from whichtune.report.stored import group_trials
from whichtune.report.verdict import Case, count_waiting, judge, list_untaken
from whichtune.spec.read import load_stored_study


def compare_study(folder: StudyFolder, split: str = SPLIT, answers: int = 0, by: str | None = None) -> Comparison:
    """Compare the candidates of a study on one split: quality beside every cost, with intervals, and the verdict.

    So many rows as `answers` says are listed with what each candidate answered. `by` names the grouping of questions
    that is shown in full.
    """
    study, _ = load_stored_study(folder.spec)
    trials, plan = folder.read_trials(), folder.read_plan()
    metrics = list_metrics(trials, split)
    grouped = group_trials(trials)
    kinds = find_kinds(folder, study.task.kind, by)
    evidence = {name: gather_evidence(folder, own, split, kinds) for name, own in grouped.items()}
    probes = folder.read_probes()
    rows = [_describe(own, evidence[name], metrics, probes) for name, own in grouped.items()]
    notes.add_published(rows, study.reference)
    ranked = _best_first(rows, metrics)
    latencies = _time_all(ranked, grouped, probes)
    pairs, amount = compare_all(evidence, metrics[0], study.margin) if metrics else ([], None)
    spendings = _gather_spendings(folder, rows, grouped, latencies)
    case = Case(study, metrics[0], rows, evidence, spendings) if metrics and split == SPLIT else None
    return Comparison(
        study=study.name,
        folder=str(folder.path),
        split=split,
        rows_scored=next((one.scores[split].rows for one in trials if split in one.scores), None),
        metrics=metrics,
        margin=study.margin,
        margin_amount=amount,
        trials=dict(Counter(one.status for one in trials)),
        trials_planned=None if plan is None else plan.total,
        candidates=ranked,
        unfinished=notes.list_unfinished(trials),
        pairs=pairs,
        verdict=None if case is None else judge(folder, case),
        scope=[*list_scope(rows, metrics, split), *_miss_verdict(folder, trials, case)],
        unequal=notes.list_unequal(trials),
        traps=[*notes.list_traps(trials), *notes.list_unlearned(rows, pairs)],
        notes=[*notes.list_outside(folder), *notes.list_record_notes(trials), *_list_disagreements(evidence)],
        data_notes=[*notes.read_data_notes(folder), *notes.list_cuts(trials)],
        shared_costs=notes.sum_shared_costs(folder),
        missing=list_missing(rows),
        latencies=latencies,
        latency_answers=answer_latencies(latencies, {row.candidate: row.backbone for row in rows}),
        groups=list_groups(one.groups for one in evidence.values()),
        group_metric=_group_metric(metrics),
        types=_tabulate(kinds, ranked, evidence, _group_metric(metrics)),
        by=by,
        search=report_searches(folder, trials),
        answers=read_answers(folder, trials, split, answers),
    )


def _miss_verdict(folder: StudyFolder, trials: Sequence[TrialRecord], case: Case | None) -> list[str]:
    """Say why there is no verdict yet, or none at all; nothing where there is one."""
    waiting = count_waiting(folder, trials)
    return notes.list_waiting(waiting) if waiting or case is None else list_untaken(case)


def _list_disagreements(evidence: Mapping[str, Evidence]) -> list[str]:
    return [told for one in evidence.values() for told in find_disagreements(one)]


def _time_all(
    rows: Iterable[CandidateRow], trials: Mapping[str, Sequence[TrialRecord]], probes: Mapping[str, Probe]
) -> list[LatencyRow]:
    found = {row.candidate: find_probe(trials[row.candidate], probes) for row in rows}
    return [one for name, probe in found.items() for one in describe_latencies(name, probe)]


def _gather_spendings(
    folder: StudyFolder,
    rows: Iterable[CandidateRow],
    trials: Mapping[str, Sequence[TrialRecord]],
    latencies: Sequence[LatencyRow],
) -> dict[str, Spending]:
    searched = Counter(one.candidate for one in folder.read_trials("search"))
    probes = folder.read_probes()
    return {
        row.candidate: Spending(
            row,
            trials[row.candidate],
            searched[row.candidate],
            find_probe(trials[row.candidate], probes),
            [one for one in latencies if one.candidate == row.candidate],
        )
        for row in rows
    }


def _group_metric(metrics: Sequence[MetricHead]) -> MetricHead | None:
    name = group_metric_of([one.name for one in metrics])
    return next((one for one in metrics if one.name == name), None)


def _tabulate(
    kinds: Iterable[Kinds], ranked: Sequence[CandidateRow], evidence: Mapping[str, Evidence], metric: MetricHead | None
) -> list[TypeTable]:
    bars = {row.candidate for row in ranked if row.baseline}
    found: list[TypeTable] = []
    for one in kinds:
        samples = {row.candidate: evidence[row.candidate].types.get(one.name, {}) for row in ranked}
        known = {name: own for name, own in samples.items() if own}
        if known and metric is not None:
            found.append(tabulate_types(one, known, metric, bars))
    return found


def _describe(
    trials: Sequence[TrialRecord], evidence: Evidence, metrics: Sequence[MetricHead], probes: Mapping[str, Probe]
) -> CandidateRow:
    any_trial, by_group = trials[0], _group_metric(metrics)
    return CandidateRow(
        candidate=any_trial.candidate,
        method=any_trial.method,
        kind=any_trial.kind,
        backbone=any_trial.backbone,
        baseline=any_trial.baseline or any_trial.family == "baseline",
        family=any_trial.known_family,
        deterministic=any_trial.deterministic,
        seeds=[one.seed for one in evidence.trials],
        trial_ids=[one.id for one in evidence.trials],
        trials=dict(Counter(one.status for one in trials)),
        reason=None if evidence.trials else notes.explain_all(trials),
        quality=[describe_quality(evidence, metric) for metric in metrics] if evidence.trials else [],
        unreadable=evidence.unreadable,
        groups=[] if by_group is None else describe_groups(evidence.groups, by_group),
        costs=describe_costs(trials, probes, evidence.asked),
    )


def _best_first(rows: Sequence[CandidateRow], metrics: Sequence[MetricHead]) -> list[CandidateRow]:
    """Order by the mean of the first metric; candidates without one stand last, in the study's order."""

    def key(row: CandidateRow) -> tuple[bool, float]:
        mean = row.quality[0].mean if row.quality else None
        if mean is None:
            return True, 0.0
        return False, -mean if metrics[0].direction == "higher" else mean

    return sorted(rows, key=key)
