"""What searches found: tuned against own settings, sensitivity, what a smaller budget would have found, their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from whichtune.records.folder import StudyFolder
from whichtune.records.search import CandidateSearch, SearchLog
from whichtune.records.trial import TrialRecord
from whichtune.report.figures import count_of, enumerate_words, format_amount, format_seconds
from whichtune.report.model import MetricHead
from whichtune.report.notes import explain
from whichtune.report.quality import list_metrics
from whichtune.report.search_model import SearchReport, SearchRow, SearchTrial, TriedSetting
from whichtune.spec.digest import canonical
from whichtune.stats.budget import expected_best
from whichtune.stats.metrics import METRICS

CHOSEN_ON = "validation"
FIRST_ROUND = ("own", "grid")
SHIFT = 0.5
"""A shortfall that tuning changes by this share or more is told in a sentence."""


def report_searches(folder: StudyFolder, finals: Sequence[TrialRecord]) -> SearchReport | None:
    """Describe the searches of a study from its records; None where there was none."""
    log = folder.read_searches()
    if log is None:
        return None
    trials = {one.id: one for one in folder.read_trials("search")}
    metric = next((one for one in list_metrics(trials.values(), CHOSEN_ON) if one.name == log.metric), None)
    rows = [describe_search(one, trials, log, finals) for one in log.candidates]
    report = SearchReport(settings=log.settings, metric=log.metric, rows=rows, untuned=log.untuned)
    report.remarks = list(_remark(report, metric))
    return report


def count_searched(folder: StudyFolder) -> Counter[str]:
    """Count the search trials behind each candidate's settings, those of a search that it shares with others too."""
    own = Counter(one.candidate for one in folder.read_trials("search"))
    log = folder.read_searches()
    shared = {} if log is None else {name: own[one.candidate] for one in log.candidates for name in one.shared_with}
    return own + Counter(shared)


def head_search(report: SearchReport) -> MetricHead:
    """Describe what choices were made by; its unit is its own, whatever trials are left on disk."""
    known = None if report.metric is None else METRICS.get(report.metric)
    if known is None:
        name = report.metric or ""
        return MetricHead(name=name, title=name or "score", direction="higher", unit="points")
    return MetricHead(name=known.name, title=known.title, direction=known.direction, unit=known.unit)


def describe_search(
    search: CandidateSearch, trials: Mapping[str, TrialRecord], log: SearchLog, finals: Iterable[TrialRecord]
) -> SearchRow:
    """Describe the search of one candidate."""
    records = [trials[one] for one in search.trials if one in trials]
    tried = [_describe_trial(one, str(log.metric)) for one in records]
    settings = _gather_settings(tried, search.chosen)
    sign = -1.0 if log.direction == "lower" else 1.0
    own = next((one for one in settings if canonical(one.setting) == canonical(search.own)), None)
    finals = [one for one in finals if one.status == "finished"]
    final = _final_seconds(finals, search.candidate)
    known = [one.training_seconds for one in tried if one.training_seconds is not None]
    return SearchRow(
        candidate=search.candidate,
        backbone=search.backbone,
        ranges=search.ranges,
        choices=search.choices,
        own=search.own,
        chosen=search.chosen,
        lost=len(search.trials) - len(records),
        score=None if search.score is None else sign * search.score,
        own_score=None if own is None else own.mean,
        settings=settings,
        trials=tried,
        ends=search.ends,
        extended=search.extended,
        expected_best=[sign * value for value in _budget_curve(tried, sign)],
        training_seconds=sum(known) if known else None,
        final_seconds=final,
        shared_with=search.shared_with,
        rank=search.rank,
        spared_seconds=_spare(search, finals),
    )


def _final_seconds(finals: Iterable[TrialRecord], candidate: str) -> float | None:
    seconds = [_step_seconds(one) for one in finals if one.candidate == candidate]
    return fmean(seconds) if seconds else None


def _spare(search: CandidateSearch, finals: Sequence[TrialRecord]) -> float | None:
    """Estimate what searches of their own would have taken the candidates that had none."""
    each = [_final_seconds(finals, name) for name in search.shared_with]
    known = [seconds for seconds in each if seconds is not None]
    return len(search.trials) * sum(known) if known and len(known) == len(each) else None


def _describe_trial(record: TrialRecord, metric: str) -> SearchTrial:
    scores = record.scores.get(CHOSEN_ON)
    score = None if scores is None else next((one.value for one in scores.metrics if one.name == metric), None)
    return SearchTrial(
        id=record.id,
        purpose=record.purpose,
        setting=record.tuned,
        seed=record.seed,
        status=record.status,
        score=score,
        training_seconds=_step_seconds(record),
        steps=record.steps,
        reason=_explain(record) if score is None else None,
    )


def _explain(record: TrialRecord) -> str:
    if record.status == "pruned" and record.failure is not None:
        return record.failure.message
    return "no finite score" if record.status == "finished" else explain(record)


def _step_seconds(record: TrialRecord) -> float:
    step = record.phases.get("step")
    return 0.0 if step is None else step.seconds


def _gather_settings(trials: Sequence[SearchTrial], chosen: Mapping[str, Any]) -> list[TriedSetting]:
    """Put the seeds of each setting together, in the order of the settings' values."""
    grouped: dict[str, list[SearchTrial]] = {}
    for one in trials:
        grouped.setdefault(canonical(one.setting), []).append(one)
    found = [_summarise(own, chosen=name == canonical(chosen)) for name, own in grouped.items()]
    return sorted(found, key=lambda one: [_sort_key(one.setting[name]) for name in reversed(list(one.setting))])


def _summarise(trials: Sequence[SearchTrial], *, chosen: bool) -> TriedSetting:
    scores = [one.score for one in trials if one.score is not None]
    setting = TriedSetting(setting=trials[0].setting, purpose=trials[0].purpose or "grid", chosen=chosen)
    if scores:
        setting.mean, setting.seeds, setting.low, setting.high = fmean(scores), len(scores), min(scores), max(scores)
    return setting


def _sort_key(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, str(value)


def _budget_curve(trials: Sequence[SearchTrial], sign: float) -> list[float]:
    """Return the expected best of the first round, turned so that higher is better.

    A trial without a score counts as the worst that has one: it would have been chosen only if nothing else was there.
    """
    first = [one.score for one in trials if one.purpose in FIRST_ROUND]
    known = [sign * score for score in first if score is not None]
    return (
        [float(value) for value in expected_best([*known, *[min(known)] * (len(first) - len(known))])] if known else []
    )


def _remark(report: SearchReport, metric: MetricHead | None) -> Iterator[str]:
    if any(row.trials for row in report.rows):
        yield _say_budget(report)
    gone = [row for row in report.rows if row.lost]
    if gone:
        lost = count_of(sum(row.lost for row in gone), "search trial")
        yield f"{lost} of {enumerate_words(row.candidate for row in gone)} no longer on disk: no scores of theirs"
    if report.untuned:
        yield f"Nothing to tune, so no search trials: {enumerate_words(report.untuned)}"
    yield from _say_pruning(report)
    yield from _say_sharing(report)
    for row in report.rows:
        yield from _remark_row(row)
    if metric is not None:
        yield from _compare_shortfalls(report.rows, metric)


def _say_budget(report: SearchReport) -> str:
    given = report.settings
    counts = {row.candidate: len([one for one in row.trials if one.purpose in FIRST_ROUND]) for row in report.rows}
    best = f"the {count_of(given['best'], 'best setting')} of each got {count_of(given['repeats'], 'more seed')}"
    if given["seconds"] is not None:
        spent = f"{format_seconds(given['seconds'])} of trials for each candidate"
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"Equal budgets: {spent} ({told} settings); {best}"
    alike = set(counts.values())
    each = f"{alike.pop()} settings" if len(alike) == 1 else ", ".join(f"{name} {n}" for name, n in counts.items())
    own = ", the entry's own among them" if given["own"] else ""
    return f"Budget: {each} for each candidate{own}; {best}"


def _say_pruning(report: SearchReport) -> Iterator[str]:
    """Say what ending trials early changed and about how much it saved; it stands apart from every other saving."""
    if report.settings.get("pruner") is None:
        return
    tried = [one for row in report.rows for one in row.trials]
    ended = [one for one in tried if one.status == "pruned"]
    saved = sum(_saved_seconds(row) for row in report.rows)
    yield (
        f"Successive halving ended {len(ended)} of {count_of(len(tried), 'search trial')} early and saved about "
        f"{format_seconds(saved)} of training: another computation than the rest (tier T3), and no part of any other "
        "saving that is named"
    )


def _say_sharing(report: SearchReport) -> Iterator[str]:
    """Say who was tuned together, at which rank, and about how much that saved."""
    for row in report.rows:
        if not row.shared_with:
            continue
        saved = "" if row.spared_seconds is None else f", which saved about {format_seconds(row.spared_seconds)}"
        yield (
            f"Tuned together at rank {row.rank}: {enumerate_words(row.shared_with)} had no search of their own and "
            f"have the settings that {row.candidate}'s chose{saved}: another computation than a search each (tier "
            "T3), and no part of any other saving that is named"
        )


def _saved_seconds(row: SearchRow) -> float:
    """Estimate the steps that were not taken by the length of a candidate's whole trials, at each trial's own pace."""
    whole = max((one.steps or 0 for one in row.trials if one.status == "finished"), default=0)
    ended = [one for one in row.trials if one.status == "pruned" and one.steps]
    return sum((one.training_seconds or 0.0) * max(0.0, whole / (one.steps or 1) - 1) for one in ended)


def _remark_row(row: SearchRow) -> Iterator[str]:
    beyond = [one for one in row.settings if one.purpose == "beyond"]
    if row.extended and beyond:
        shown = enumerate_words(write_setting(one.setting) for one in beyond)
        more = len([one for one in row.trials if canonical(one.setting) in {canonical(b.setting) for b in beyond}])
        yield (
            f"{row.candidate}: the best setting lay at the end of its range, so {shown} was tried beyond it, "
            f"{count_of(more, 'trial')} more than the equal budget"
        )
    for name, end in row.ends.items():
        which = "lowest" if end == "low" else "highest"
        yield f"{row.candidate}: {name} {row.chosen[name]} is the {which} tried; a better one may lie beyond it"
    failed = [one for one in row.trials if one.score is None and one.status != "pruned"]
    if failed:
        why = enumerate_words(dict.fromkeys(one.reason or "no reason" for one in failed), 2)
        yield f"{row.candidate}: {count_of(len(failed), 'search trial')} without a score ({why})"
    if row.score is None and not row.lost:
        yield f"{row.candidate}: no search trial has a score; its final trials have the entry's own settings"


def _compare_shortfalls(rows: Sequence[SearchRow], metric: MetricHead) -> Iterator[str]:
    """Say whose distance from the best changed much between own settings and tuned ones, backbone by backbone."""
    sign = -1.0 if metric.direction == "lower" else 1.0
    for backbone in dict.fromkeys(row.backbone for row in rows):
        known = [
            row for row in rows if row.backbone == backbone and row.score is not None and row.own_score is not None
        ]
        before = {row.candidate: sign * (row.own_score or 0.0) for row in known}
        after = {row.candidate: sign * (row.score or 0.0) for row in known}
        for name in before if len(known) > 1 else ():
            first, then = max(before.values()) - before[name], max(after.values()) - after[name]
            if abs(first - then) >= SHIFT * max(first, then) > 0.0:
                untuned, tuned = (format_amount(value, metric.unit) for value in (first, then))
                yield (
                    f"{name} is {untuned} below the best on {backbone} where each has its entry's own settings, "
                    f"{tuned} after equal search (validation rows)"
                )


def write_setting(setting: Mapping[str, Any]) -> str:
    """Write a setting on one line."""
    return ", ".join(f"{name} {_write(value)}" for name, value in setting.items())


def _write(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
