"""Latency is warmed up, synchronised, and summarised as NumPy would."""

from __future__ import annotations

import numpy as np
import pytest

from whichtune.measure.latency import measure_latency


def run(durations, warm_up, lag=0):
    """Time a fake forward pass whose nth call takes durations[n], `lag` of it only when waited for."""
    state = {"now": 0, "calls": 0, "pending": 0}

    def forward():
        state["now"] += durations[state["calls"]] - lag
        state["pending"] += lag
        state["calls"] += 1

    def synchronise():
        state["now"] += state["pending"]
        state["pending"] = 0

    repeats = len(durations) - warm_up
    return measure_latency(
        forward, repeats=repeats, warm_up=warm_up, synchronise=synchronise, now=lambda: state["now"]
    ), state["calls"]


def test_median_and_percentile_over_the_timed_passes_only():
    durations = [9_000_000_000, 9_000_000_000, *range(1_000_000_000, 21_000_000_000, 1_000_000_000)]
    latency, calls = run(durations, warm_up=2, lag=500_000_000)
    assert calls == 22
    assert latency.median_seconds == pytest.approx(10.5)
    assert latency.p95_seconds == pytest.approx(np.percentile(range(1, 21), 95))


def test_real_clock_is_positive():
    latency = measure_latency(lambda: sum(range(1000)), repeats=5)
    assert 0 < latency.median_seconds <= latency.p95_seconds


def test_no_repeats_is_refused():
    with pytest.raises(ValueError, match="repeats"):
        measure_latency(lambda: None, repeats=0)
