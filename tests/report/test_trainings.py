"""How many trainings a candidate had, and which of them collapsed."""

from __future__ import annotations

import pytest

from whichtune.records.trial import Failure, TrialRecord
from whichtune.report.model import CandidateRow, MetricHead, Quality
from whichtune.report.price_list import say_state
from whichtune.report.trainings import Trainings, count_trainings, find_majority, turn
from whichtune.report.verdict_model import Price
from whichtune.stats.collapse import collapse_bound

ACCURACY = MetricHead(name="accuracy", title="accuracy", direction="higher", unit="share")
LOSS = MetricHead(name="loss", title="loss", direction="lower", unit="nats")


def make_row(*values: float | None, family: str = "tuner", kind: str = "lora") -> CandidateRow:
    quality = [Quality(metric="accuracy", mean=values[0], by_seed=dict(enumerate(values)))] if values else []
    return CandidateRow(
        candidate="c", method="c", kind=kind, family=family, seeds=list(range(len(values))), quality=quality
    )


def fail(kind: str, status: str = "failed") -> TrialRecord:
    return TrialRecord(
        id="x", study="s", candidate="c", method="c", kind="lora", seed=9, status=status, settings={}, identity={},
        started_at="2026", failure=Failure(kind=kind, message="m"),
    )  # fmt: skip


def test_clean_trainings_leave_a_rate_open() -> None:
    assert count_trainings(make_row(0.9, 0.8, 0.85), [], ACCURACY, 0.5) == Trainings(3, 0, collapse_bound(3, 3))


@pytest.mark.parametrize(
    ("values", "collapsed"), [((0.9, 0.5, 0.9), 1), ((0.9, 0.53, 0.9), 1), ((0.9, 0.6, 0.9), 0), ((0.5, 0.5), 2)]
)
def test_collapsed_ones_are_no_better_than_the_majority(values, collapsed) -> None:
    own = count_trainings(make_row(*values), [], ACCURACY, 0.5)
    assert own == Trainings(len(values), collapsed, collapse_bound(len(values) - collapsed, len(values)))


def test_losses_are_turned() -> None:
    assert turn(0.5, LOSS) == -0.5
    assert turn(None, LOSS) is None
    assert count_trainings(make_row(0.2, 0.69, 0.2), [], LOSS, -0.69).collapsed == 1


def test_a_diverged_training_counts_and_an_accident_does_not() -> None:
    trials = [fail("NonFiniteError"), fail("OSError"), fail("DoesNotFitError", "does-not-fit")]
    own = count_trainings(make_row(0.9, 0.8), trials, ACCURACY, 0.5)
    assert (own.count, own.collapsed) == (3, 1)
    assert count_trainings(make_row(), trials[1:], ACCURACY, 0.5) == Trainings(0, 0, None)


@pytest.mark.parametrize("family", ["baseline", "prompter"])
def test_what_is_not_trained_cannot_collapse(family) -> None:
    assert count_trainings(make_row(0.1, 0.1, family=family), [], ACCURACY, 0.5) == Trainings(2)


def test_the_majority_is_found_by_its_kind() -> None:
    rows = [make_row(0.9), make_row(0.4, family="baseline", kind="majority"), make_row(family="baseline")]
    assert find_majority(rows, ACCURACY) == 0.4
    assert find_majority(rows[:1], ACCURACY) is None


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"absent": "needs about 12 GB", "outside": ["x"]}, "no result"),
        ({"outside": ["x"]}, "outside the limits"),
        ({"collapsed": 1, "trainings": 3, "alive": True}, "1 of 3 collapsed"),
        ({"recommended": True, "alive": True}, "recommended"),
        ({"guessed": True, "alive": True}, "best guess"),
        ({"alive": True, "estimate": 0.0}, "could be the best"),
        ({"estimate": 0.2}, "not the best"),
        ({}, ""),
    ],
)
def test_the_state_of_a_row_in_words(over, said) -> None:
    assert say_state(Price(candidate="c", **over)) == said
