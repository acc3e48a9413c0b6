"""From a study's folder to its comparison; reads records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import Probe, TrialRecord
from whichtune.report import notes
from whichtune.report.answers import read_answers
from whichtune.report.by_type import Kinds, find_kinds, tabulate_types
from whichtune.report.contenders import CHOSEN_ON
from whichtune.report.costs import describe_costs, find_probe, list_missing
from whichtune.report.forgetting import report_forgetting
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
from whichtune.report.search import count_searched, report_searches
from whichtune.report.sizes import report_sizes
from whichtune.report.stored import group_trials
from whichtune.report.verdict import Case, count_look, judge, list_untaken
from whichtune.report.waiting import WITHHELD, count_waiting, is_over, is_withheld, say_partial
from whichtune.report.weighing import list_asked, read_asked


def compare_study(
    folder: StudyFolder,
    split: str = SPLIT,
    answers: int = 0,
    by: str | None = None,
    *,
    partial: bool = False,
    settings: Sequence[str] = (),
) -> Comparison:
    """Compare the candidates of a study on one split: quality beside every cost, with intervals, and the verdict.

    `answers` rows are listed with what each candidate answered; `by` names the grouping of questions to show in full.
    While the study may still ask for trainings, its validation split stands in for the test split, without pairs, but
    for `partial`. `settings` are overrides of what the verdict weighs, such as `margin=3`.
    """
    study, withheld = read_asked(folder, settings), is_withheld(folder, split, partial=partial)
    split = CHOSEN_ON if withheld else split
    trials = folder.read_trials()
    metrics, grouped = list_metrics(trials, split), group_trials(trials)
    kinds = find_kinds(folder, study.task.kind, by)
    evidence = {name: gather_evidence(folder, own, split, kinds) for name, own in grouped.items()}
    rows = _describe_all(folder, grouped, evidence, metrics)
    notes.add_published(rows, study.reference)
    ranked = _best_first(rows, metrics)
    latencies = _time_all(ranked, grouped, folder.read_probes())
    pairs, amount = compare_all(evidence, metrics[0], study.margin) if metrics and not withheld else ([], None)
    spendings = _gather_spendings(folder, rows, grouped, latencies)
    case = Case(study, metrics[0], rows, evidence, spendings) if metrics and split == SPLIT else None
    comparison = Comparison(
        study=study.name,
        folder=str(folder.path),
        split=split,
        metrics=metrics,
        margin=study.margin,
        margin_amount=amount,
        withheld=WITHHELD if withheld else None,
        asked=list(list_asked(folder, settings)),
        candidates=ranked,
        pairs=pairs,
        verdict=None if case is None else judge(folder, case),
        scope=[*_tell_partial(folder, case), *list_scope(rows, metrics, split), *_miss_verdict(folder, trials, case)],
        latencies=latencies,
        by=by,
        answers=read_answers(folder, trials, split, answers),
    )
    _add_groups(comparison, kinds, evidence)
    _add_parts(comparison, folder, trials, case)
    _add_progress(comparison, folder, trials)
    _add_remarks(comparison, folder, trials, evidence)
    return comparison


def _add_groups(comparison: Comparison, kinds: Iterable[Kinds], evidence: Mapping[str, Evidence]) -> None:
    """Add scores by group of rows and by type of question; no pairs of candidates where test scores wait."""
    metric = _group_metric(comparison.metrics)
    comparison.groups, comparison.group_metric = list_groups(one.groups for one in evidence.values()), metric
    comparison.types = _tabulate(kinds, comparison.candidates, evidence, metric)
    if comparison.withheld is not None:
        comparison.types = [table.model_copy(update={"pairs": []}) for table in comparison.types]


def _add_parts(comparison: Comparison, folder: StudyFolder, trials: Sequence[TrialRecord], case: Case | None) -> None:
    """Add what some studies have: latencies, searches, what models forgot, several sizes."""
    backbones = {row.candidate: row.backbone for row in comparison.candidates}
    comparison.latency_answers = answer_latencies(comparison.latencies, backbones)
    comparison.forgetting = report_forgetting(folder, group_trials(trials))
    comparison.search = report_searches(folder, trials)
    comparison.sizes = None if case is None else report_sizes(folder, case.study, trials, case.metric)


def _add_progress(comparison: Comparison, folder: StudyFolder, trials: Sequence[TrialRecord]) -> None:
    """Add how far the study has come."""
    plan, split = folder.read_plan(), comparison.split
    comparison.rows_scored = next((one.scores[split].rows for one in trials if split in one.scores), None)
    comparison.trials = dict(Counter(one.status for one in trials))
    comparison.trials_planned = None if plan is None else plan.total
    comparison.unfinished = notes.list_unfinished(trials)


def _add_remarks(
    comparison: Comparison, folder: StudyFolder, trials: Sequence[TrialRecord], evidence: Mapping[str, Evidence]
) -> None:
    """Add what is to be known of the records beside their figures."""
    rows = comparison.candidates
    comparison.unequal = notes.list_unequal(trials)
    comparison.traps = notes.list_traps(trials)
    if comparison.withheld is None:
        comparison.traps += notes.list_unlearned(rows, comparison.pairs)
    comparison.notes = [*notes.list_outside(folder), *notes.list_record_notes(trials)]
    comparison.notes += [told for one in evidence.values() for told in find_disagreements(one)]
    comparison.data_notes = [*notes.read_data_notes(folder), *notes.list_cuts(trials)]
    comparison.shared_costs = notes.sum_shared_costs(folder)
    comparison.missing = list_missing(rows)


def _tell_partial(folder: StudyFolder, case: Case | None) -> list[str]:
    """Count test scores that are shown before all trainings are in as a use of the test rows, and say so."""
    if case is None or is_over(folder):
        return []
    return [say_partial(count_look(folder, case))]


def _miss_verdict(folder: StudyFolder, trials: Sequence[TrialRecord], case: Case | None) -> list[str]:
    """Say why there is no verdict yet, or none at all; nothing where there is one."""
    waiting = count_waiting(folder, trials)
    return notes.list_waiting(waiting) if waiting or case is None else list_untaken(case)


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
    searched = count_searched(folder)
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


def _describe_all(
    folder: StudyFolder,
    trials: Mapping[str, Sequence[TrialRecord]],
    evidence: Mapping[str, Evidence],
    metrics: Sequence[MetricHead],
) -> list[CandidateRow]:
    """Describe every candidate, in the study's order."""
    probes = folder.read_probes()
    return [_describe(own, evidence[name], metrics, probes) for name, own in trials.items()]


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
        reason=None if evidence.trials else notes.explain_all(trials, evidence.split),
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
