"""How many trainings a candidate had, and how many of them collapsed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whichtune.records.trial import TrialRecord
from whichtune.report.model import CandidateRow, MetricHead
from whichtune.stats.collapse import collapse_bound, count_collapsed

DIVERGED = {"NonFiniteError", "DeadGradientError"}
"""Failures that are the training's own: it ran and led nowhere. Any other is an accident, and no training."""


@dataclass(frozen=True)
class Trainings:
    """The trainings of one candidate."""

    count: int
    collapsed: int = 0
    bound: float | None = None
    """Rate of collapses that they leave open, 95 %; None where nothing is trained."""


def count_trainings(
    row: CandidateRow, trials: Iterable[TrialRecord], metric: MetricHead, majority: float | None
) -> Trainings:
    """Count a candidate's trainings; `majority` is the baseline's score, turned so that higher is better.

    Only what is trained can collapse: a baseline or a prompt may well be worse than the most frequent answer.
    """
    if row.family != "tuner":
        return Trainings(len(row.seeds))
    finished = [turn(value, metric) for value in (row.quality[0].by_seed.values() if row.quality else ())]
    diverged = sum(
        one.status == "failed" and one.failure is not None and one.failure.kind in DIVERGED for one in trials
    )
    scores = [*finished, *[None] * diverged]
    collapsed = count_collapsed(scores, majority)
    return Trainings(len(scores), collapsed, collapse_bound(len(scores) - collapsed, len(scores)))


def find_majority(rows: Sequence[CandidateRow], metric: MetricHead) -> float | None:
    """Return the score of the best majority baseline, turned so that higher is better; None without one."""
    means = [turn(row.quality[0].mean, metric) for row in rows if row.kind == "majority" and row.quality]
    return max((mean for mean in means if mean is not None), default=None)


def turn(value: float | None, metric: MetricHead) -> float | None:
    """Turn a score so that higher is better."""
    return -value if value is not None and metric.direction == "lower" else value
