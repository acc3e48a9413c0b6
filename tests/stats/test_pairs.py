"""Exactly one sentence holds of a pair, and it is one of four."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.stats.intervals import Estimate, sample_candidate
from whichtune.stats.metrics import METRICS
from whichtune.stats.pairs import compare_pair, decide, margin_amount, phrase


def estimate(value: float, error: float, df: float = 1e6) -> Estimate:
    return Estimate(value, error**2, 0.0, df, items=100)


@pytest.mark.parametrize(
    ("value", "error", "call"),
    [
        (0.05, 0.01, "better"),
        (0.01, 0.002, "better-within-margin"),
        (0.001, 0.005, "within-margin"),
        (0.01, 0.02, "not-settled"),
        (0.019, 0.005, "better"),
    ],
)
def test_calls_at_a_margin_of_two_points(value, error, call) -> None:
    assert decide(estimate(value, error), 0.02) == call


@given(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(1, 1e4), st.floats(0, 0.1))
def test_one_call_holds_and_says_what_its_intervals_say(value, error, df, margin) -> None:
    own = estimate(value, error, df)
    call = decide(own, margin)
    low, high = own.interval(0.90)
    assert (call in {"better", "better-within-margin"}) == (own.interval()[0] > 0)
    assert (call in {"within-margin", "better-within-margin"}) == (low >= -margin and high <= margin)


@pytest.mark.parametrize("call", ["better", "better-within-margin", "within-margin", "not-settled"])
def test_the_legal_sentences(call) -> None:
    told = phrase(call, "3.1", "1.0", "5.2", "2 points")
    legal = (
        r"better by 3\.1 \(1\.0\.\.5\.2\)|within 2 points of each other|better, but by less than 2 points|not settled"
    )
    assert re.fullmatch(legal, told)


def test_the_higher_estimate_stands_first() -> None:
    ids = [str(item) for item in range(200)]
    generator = np.random.default_rng(0)
    low, high = ((generator.random((3, 200)) < share).astype(float) for share in (0.6, 0.9))
    one, other = (sample_candidate(n, ids, x.mean(axis=1), x, binary=True) for n, x in (("low", low), ("high", high)))
    for pair in (compare_pair(one, other, 0.02), compare_pair(other, one, 0.02)):
        assert (pair.first, pair.second, pair.call) == ("high", "low", "better")
        assert pair.difference.value > 0


def test_margins() -> None:
    samples = [sample_candidate("x", ["a", "b"], [-loss], [[-loss, -loss]]) for loss in (0.9, 0.5)]
    assert margin_amount(METRICS["accuracy"], 2.0, samples) == pytest.approx(0.02)
    assert margin_amount(METRICS["loss"], 2.0, samples) == pytest.approx(0.01), "2 per cent of the best loss, 0.5"
    assert margin_amount(METRICS["loss"], 2.0, []) == 0.0
