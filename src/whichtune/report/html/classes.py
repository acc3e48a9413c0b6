"""Scores by class, by group of rows and by type of question: a row each, a column a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from whichtune.records.trial import TrialRecord
from whichtune.report.figures import DASH, format_interval, format_score
from whichtune.report.model import CandidateRow, Comparison, GroupScore, MetricHead, TypeScore
from whichtune.report.sections import Section, TableSection

CANDIDATES = 8
"""So many candidates stand abreast."""
CLASSES = 200
"""So many classes are listed."""


def lay_out_classes(comparison: Comparison, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield the F1 of each class, mean over a candidate's trainings."""
    rows = _shown(comparison)
    held = {one.id: one.scores[comparison.split] for one in trials if comparison.split in one.scores}
    found: dict[str, dict[str, list[float | None]]] = {}
    support: dict[str, int] = {}
    for row in rows:
        for trial in row.trial_ids:
            for one in held[trial].classes if trial in held else ():
                support.setdefault(one.label, one.support)
                found.setdefault(one.label, {}).setdefault(row.candidate, []).append(one.f1)
    labels = list(support)[:CLASSES]
    rest = len(support) - len(labels)
    yield TableSection(
        title="By class: F1 in hundredths",
        columns=("class", "rows", *(row.candidate for row in rows)),
        rows=[
            (label, f"{support[label]:,}", *(_mean(found[label].get(row.candidate, [])) for row in rows))
            for label in labels
        ],
        right=frozenset(range(1, len(rows) + 2)),
        note=_note(comparison, "Means over a candidate's trainings.", f"{rest:,} more classes." if rest else ""),
    )


def lay_out_kinds(comparison: Comparison) -> Iterator[Section]:
    """Yield a row a group or type of question with each candidate's mean and interval."""
    rows, metric = _shown(comparison), comparison.group_metric
    if comparison.groups and not comparison.types and metric is not None:
        scores = {(one.group, row.candidate): one for row in rows for one in row.groups}
        heads = [(head.group, head.rows) for head in comparison.groups]
        yield _matrix(f"By group of rows: {metric.title}", heads, scores, rows, metric)
    for table in comparison.types:
        found = {(one.type, one.candidate): one for one in table.scores}
        kinds = [(head.type, head.rows) for head in table.types if head.rows]
        title = f"By type of question, {table.title}: {table.metric.title}"
        yield _matrix(title, kinds, found, rows, table.metric)


def _shown(comparison: Comparison) -> list[CandidateRow]:
    return [row for row in comparison.candidates if row.trial_ids][:CANDIDATES]


def _matrix(
    title: str,
    heads: Sequence[tuple[str, int]],
    scores: Mapping[tuple[str, str], GroupScore | TypeScore],
    rows: Sequence[CandidateRow],
    metric: MetricHead,
) -> Section:
    cells = [
        (head or DASH, f"{count:,}", *(_cell(scores.get((head, row.candidate)), metric) for row in rows))
        for head, count in heads
    ]
    columns = ("type", "rows", *(row.candidate for row in rows))
    return TableSection(title, columns, cells, frozenset(range(1, len(columns))), "Intervals are 95 %.")


def _cell(score: GroupScore | TypeScore | None, metric: MetricHead) -> str:
    if score is None or score.mean is None:
        return DASH
    return f"{format_score(score.mean, metric.unit)}\n{format_interval(score.low, score.high, metric.unit)}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return format_score(fmean(known) if known and len(known) == len(values) else None, "share")


def _note(comparison: Comparison, *told: str) -> str:
    finished = sum(bool(row.trial_ids) for row in comparison.candidates)
    more = f"The best {CANDIDATES} of {finished} candidates." if finished > CANDIDATES else ""
    return " ".join(part for part in (*told, more) if part)
