"""Scores by the groups of the test rows (kinds of questions, lengths, topics), where rows have groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from whichtune.records.predictions import Predictions
from whichtune.report.figures import DASH, format_interval, format_score
from whichtune.report.model import Comparison, GroupHead, GroupScore, MetricHead
from whichtune.report.sections import Section, TableSection
from whichtune.stats.intervals import CandidateSample, estimate_single
from whichtune.stats.metrics import METRICS
from whichtune.stats.samples import collect_sample

GroupScores = dict[str, tuple[int, CandidateSample | None]]
"""Group to its rows and, from two rows on, the candidate's sample on them."""
ROWS_SHOWN = 60
"""Groups are listed up to so many rows of the table."""
_SHARES_OF_CLASSES = {"macro_f1", "weighted_f1"}


def group_metric_of(metrics: Sequence[str]) -> str | None:
    """Return the metric that groups are scored by: the first, or accuracy where that one goes by classes.

    A group may hold rows of one class only, of which an F1 over all classes says nothing.
    """
    first = metrics[0] if metrics else None
    return "accuracy" if first in _SHARES_OF_CLASSES else first


def sample_groups(name: str, tables: Sequence[Predictions], labels: Sequence[str], metric: str | None) -> GroupScores:
    """Return a candidate's sample on each group, groups in the order of their names; nothing without groups."""
    groups = tables[0].group or []
    if metric is None or metric not in METRICS or all(group is None for group in groups):
        return {}
    found: GroupScores = {}
    for group in sorted({each or "" for each in groups}):
        parts = [_take(table, group) for table in tables]
        found[group] = len(parts[0].ids), collect_sample(name, parts, labels, metric)
    return found


def describe_groups(groups: Mapping[str, tuple[int, CandidateSample | None]], metric: MetricHead) -> list[GroupScore]:
    """Return the scores of groups with their intervals, turned back to the metric's own direction."""
    return [_describe(group, sample, metric) for group, (_, sample) in groups.items()]


def list_groups(found: Iterable[GroupScores]) -> list[GroupHead]:
    """Return the groups of a split, by the first candidate that has them."""
    known = next((groups for groups in found if groups), {})
    return [GroupHead(group=group, rows=rows) for group, (rows, _) in known.items()]


def lay_out_groups(comparison: Comparison) -> Section:
    """Lay out a row a candidate and group, group by group."""
    metric, shown = (
        comparison.group_metric,
        comparison.groups[: max(1, ROWS_SHOWN // max(1, len(comparison.candidates)))],
    )
    rows: list[tuple[str, ...]] = []
    if metric is not None:
        for head in shown:
            own = [
                (row.candidate, one) for row in comparison.candidates for one in row.groups if one.group == head.group
            ]
            for place, (candidate, score) in enumerate(own):
                first = (head.group or DASH, f"{head.rows:,}") if place == 0 else ("", "")
                rows.append((*first, candidate, *_cells(score, metric)))
    rest = len(comparison.groups) - len(shown)
    return TableSection(
        title="" if metric is None else f"By group of rows: {metric.title}",
        columns=("group", "rows", "candidate", "mean", "95 % interval"),
        rows=rows,
        right=frozenset({1, 3, 4}),
        note=f"{rest:,} more groups stand in the JSON form." if rest else "",
    )


def _cells(score: GroupScore, metric: MetricHead) -> tuple[str, str]:
    return format_score(score.mean, metric.unit), format_interval(score.low, score.high, metric.unit)


def _describe(group: str, sample: CandidateSample | None, metric: MetricHead) -> GroupScore:
    mean, low, high = describe_score(sample, metric)
    return GroupScore(group=group, mean=mean, low=low, high=high)


def describe_score(
    sample: CandidateSample | None, metric: MetricHead
) -> tuple[float | None, float | None, float | None]:
    """Return mean and both ends of the 95 % interval in the metric's own direction; None for all without a sample."""
    if sample is None:
        return None, None, None
    low, high = estimate_single(sample).interval()
    return (-sample.total, -high, -low) if metric.direction == "lower" else (sample.total, low, high)


def _take(table: Predictions, group: str) -> Predictions:
    """Return the rows of a group; an empty name stands for rows without one."""
    return take_rows(table, [place for place, own in enumerate(table.group or []) if (own or "") == group])


def take_rows(table: Predictions, places: Sequence[int]) -> Predictions:
    """Return the rows at some places, with all that scores need."""
    kept = np.array(places, np.int64)
    return Predictions(
        split=table.split,
        ids=[table.ids[place] for place in places],
        gold=[table.gold[place] for place in places],
        parsed=[table.parsed[place] for place in places],
        confidence=table.confidence[kept],
        loss=table.loss[kept],
        probabilities=None if table.probabilities is None else table.probabilities[kept],
        gold_rank=None if table.gold_rank is None else table.gold_rank[kept],
        labels=table.labels,
    )
