"""From shortfalls, costs and a margin to a choice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whichtune.stats.best import ERROR_ALIVE, measure_shortfalls
from whichtune.stats.decision import (
    ERROR_BEATEN,
    Option,
    beats_baselines,
    choose,
    find_unpriced,
    is_priced,
    reach_decision,
    settle,
)
from whichtune.stats.intervals import CandidateSample, estimate_difference, sample_candidate
from whichtune.stats.power import measure_needs

ITEMS = 2000


def make(name: str, share: float, seeds: int = 3, items: int = ITEMS) -> CandidateSample:
    """Make a candidate that is right about so often, mostly on the same items as the others."""
    shared = np.random.default_rng(5).random(items)
    own = np.random.default_rng(list(name.encode())).random((seeds, items))
    scores = (shared * 0.8 + own * 0.2 < share).astype(float)
    return sample_candidate(name, [str(place) for place in range(items)], scores.mean(axis=1), scores, binary=True)


def options(*made: tuple[CandidateSample, float | None]) -> list[Option]:
    return [Option(sample, cost) for sample, cost in made]


def test_the_cheapest_shown_is_chosen() -> None:
    listed = options((make("a", 0.8), 3.0), (make("b", 0.8), 2.0), (make("c", 0.6), 1.0))
    decision = reach_decision(listed, 0.03)
    assert decision.shown is not None
    assert decision.shown.name == "b"
    assert decision.dearer_only
    assert decision.unsettled is decision.guess is None
    expected = {one.name: one for one in measure_shortfalls([option.sample for option in listed])}
    assert decision.shortfalls == expected


def test_nothing_shown_gives_a_guess_and_a_promise() -> None:
    listed = options((make("a", 0.8, items=200), 3.0), (make("b", 0.8, items=200), 2.0))
    decision = reach_decision(listed, 0.02)
    assert decision.shown is None
    assert decision.promise is not None
    assert decision.promise.bound == min(one.bound for one in decision.shortfalls.values()) > 0.02
    assert decision.guess is not None
    assert decision.guess.name == ("b" if decision.shortfalls["b"].estimate <= 0.02 else "a")
    assert decision.needs.items is None or decision.needs.items > 200


def test_a_cheaper_one_that_is_not_settled() -> None:
    listed = options((make("a", 0.80), 3.0), (make("b", 0.785), 1.0))
    decision = reach_decision(listed, 0.02)
    assert decision.shown is not None
    assert decision.shown.name == "a"
    assert decision.unsettled is not None
    assert decision.unsettled.name == "b"
    assert not decision.dearer_only


def test_unsound_candidates_are_compared_and_never_chosen() -> None:
    good, cheap = make("good", 0.8), make("cheap", 0.8)
    listed = [Option(good, 2.0), Option(cheap, 1.0, sound=False)]
    decision = reach_decision(listed, 0.05)
    assert decision.shown is not None
    assert decision.shown.name == "good"
    assert decision.unsettled is None
    assert not decision.dearer_only
    alone = reach_decision([Option(good, 2.0, sound=False), Option(cheap, 1.0, sound=False)], 0.05)
    assert alone.shown is alone.guess is alone.promise is None


def test_an_unknown_cost_is_the_dearest() -> None:
    good, other = make("good", 0.8), make("other", 0.8)
    shortfalls = {one.name: one for one in measure_shortfalls([good, other])}
    assert choose(options((good, None), (other, 1e12)), shortfalls, 0.05) == "other"
    assert choose(options((good, None), (other, 1e12)), shortfalls, 0.0) is None
    decision = reach_decision(options((good, None), (other, None)), 0.05)
    assert decision.shown is not None
    assert decision.unsettled is None
    assert not decision.dearer_only
    assert not is_priced(options((good, None), (other, None)), shortfalls, 0.05)
    assert is_priced(options((good, None), (other, 1.0)), shortfalls, 0.05)


def test_only_what_may_be_good_enough_is_missed_where_its_cost_is_unknown() -> None:
    best, other, poor, broken = make("best", 0.8), make("other", 0.8), make("poor", 0.5), make("broken", 0.8)
    listed = [*options((best, 1.0), (other, None), (poor, None)), Option(broken, None, sound=False)]
    decision = reach_decision(listed, 0.05)
    assert find_unpriced(listed, decision.shortfalls, 0.05) == ["other"]
    assert find_unpriced(listed, decision.shortfalls, 0.9) == ["other", "poor"]


def test_nothing_is_cheaper_than_an_unknown_cost() -> None:
    best, low, poor = make("best", 0.8), make("low", 0.79), make("poor", 0.6)
    listed = options((best, None), (low, None), (poor, 1.0))
    decision = reach_decision(listed, 0.05)
    assert decision.shown is not None
    assert decision.shown.name == "best"
    assert decision.unsettled is None
    assert not decision.dearer_only
    assert not is_priced(listed, decision.shortfalls, 0.05)
    assert is_priced(listed, decision.shortfalls, 0.0)  # nothing is shown, so nothing is called the cheapest


def test_one_further_below_is_settled_by_more_items() -> None:
    best, poor = make("best", 0.8, 1, 1000), make("poor", 0.77, 1, 1000)
    samples = [best, poor]
    shortfalls = measure_shortfalls(samples)
    needs = settle(samples, shortfalls, shortfalls[1], 0.02)
    assert shortfalls[1].estimate > 0.02
    assert needs.items is not None
    assert needs.items > 1000
    gap = estimate_difference(best, poor)
    times = needs.items / 1000
    needed = (gap.quantile(1 - ERROR_ALIVE) + gap.quantile(0.8)) * math.sqrt(gap.variance / times)
    assert needed == pytest.approx(gap.value - 0.02, rel=0.01)


def test_one_within_the_margin_is_settled_by_its_bound() -> None:
    samples = [make("a", 0.8, items=300), make("b", 0.79, items=300)]
    shortfalls = measure_shortfalls(samples)
    low = max(shortfalls, key=lambda one: one.estimate)
    margin = low.estimate + 0.02
    assert settle(samples, shortfalls, low, margin) == measure_needs(samples, shortfalls, low.name, margin)


def test_baselines_are_beaten_when_one_candidate_is_above_all_of_them() -> None:
    bars = [make("majority", 0.5, 1), make("question-only", 0.6)]
    assert beats_baselines([make("good", 0.8), make("poor", 0.4)], bars)
    assert not beats_baselines([make("between", 0.55)], bars)
    assert not beats_baselines([], bars)
    one = make("near", 0.62)
    gap = estimate_difference(one, bars[1])
    lower = gap.value - gap.quantile(1 - ERROR_BEATEN) * gap.standard_error
    assert beats_baselines([one], bars) == (lower > 0)
    many = [one, *(make(f"x{place}", 0.3) for place in range(200))]
    lower = gap.value - gap.quantile(1 - ERROR_BEATEN / 201) * gap.standard_error
    assert beats_baselines(many, bars) == (lower > 0)
