"""What candidates cost on each axis, and which limits they break."""

from __future__ import annotations

import pytest

from whichtune.records.trial import AloneCost, LatencyFigures, MetricValue, Phase, Probe, SplitScores, TrialRecord
from whichtune.report.costs import describe_costs
from whichtune.report.limits import Breach, find_breaches, find_nearest
from whichtune.report.model import CandidateRow, LatencyRow
from whichtune.report.pricing import (
    Spending,
    answer_seconds,
    measured_alone,
    price,
    title_cost,
    train_seconds,
)
from whichtune.spec.verdict import CostSpec, LimitsSpec

SCORES = SplitScores(
    rows=200,
    metrics=[MetricValue(name="accuracy", value=0.8, direction="higher", unit="share")],
    predicted_labels=2,
)


def spend(family: str = "tuner", *, searched: int = 0, latencies=(), asked=None, alone=None, **over) -> Spending:
    """Make the spending of a candidate with two finished trials."""
    trials = [
        TrialRecord(
            id=str(seed), study="s", candidate="c", method="c", kind="k", family=family, seed=seed, status="finished",
            settings={}, identity={}, started_at="2026", steps=100 * seed, adapter_bytes=2_000_000, probe="p",
            phases={"step": Phase(seconds=30.0, peak_bytes=7), "predict": Phase(seconds=4.0, peak_bytes=9)},
            scores={"test": SCORES},
        )
        for seed in (1, 2)
    ]  # fmt: skip
    trials = [one.model_copy(update=over) for one in trials]
    measured = {"step_seconds": 0.5, "peak_bytes": 3 * 10**9, "forward_flops": 1e9, "backward_flops": 2e9}
    cost = AloneCost(steps=5, examples_per_step=16).model_copy(update=measured | (alone or {}))
    probe = Probe(id="p", candidate="c", method="c", device="cpu", threads=1, alone=cost)
    row = CandidateRow(
        candidate="c", method="c", kind="k", family=family, costs=describe_costs(trials, {"p": probe}, asked)
    )
    return Spending(row, trials, searched, probe, latencies)


def test_seconds_of_a_tuner_are_training_search_and_answers() -> None:
    timed = LatencyFigures(batch=1, merged=False, median_seconds=0.01, p95_seconds=0.02)
    own = spend(searched=9, alone={"latencies": [timed]})
    assert train_seconds(own).value == 0.5 * 150
    assert answer_seconds(own).value == 0.01
    assert price(own, "seconds", 1000).value == pytest.approx(0.5 * 150 * 10 + 10)
    assert price(own, "seconds", 0).value == pytest.approx(0.5 * 150 * 10)


def test_a_merged_adapter_is_timed_merged() -> None:
    own = spend()
    own.row.costs.latency_one.value, own.row.costs.latency_one_merged.value = 0.02, 0.01
    assert answer_seconds(own).value == 0.01


def test_answers_in_words_are_a_prompt_and_new_tokens() -> None:
    rows = [
        LatencyRow(candidate="c", batch=16, way="merged", prefill_seconds=9.0, decode_seconds=9.0),
        LatencyRow(candidate="c", batch=1, way="unmerged", prefill_seconds=0.2, decode_seconds=0.03),
        LatencyRow(candidate="c", batch=1, way="plain", prefill_seconds=0.1, decode_seconds=0.02),
    ]
    asked = {"tokens_out": 4.0, "item_seconds": 0.5}
    assert answer_seconds(spend(latencies=rows, asked=asked)).value == pytest.approx(0.2 + 4 * 0.03)
    assert answer_seconds(spend("prompter", latencies=rows[2:], asked=asked)).value == pytest.approx(0.1 + 4 * 0.02)
    assert answer_seconds(spend("prompter", asked=asked)).value == 0.5
    assert answer_seconds(spend()).value == 4.0 / 200


def test_prompters_train_nothing() -> None:
    own = spend("prompter", asked={"item_seconds": 0.5})
    assert train_seconds(own).value == 0.0
    assert price(own, "seconds", 1000).value == 500.0
    assert price(own, "peak_bytes", 1000).value == 3e9
    assert price(own, "flops", 1000).value is None


def test_a_baseline_costs_what_its_trial_took() -> None:
    own = spend("baseline")
    assert price(own, "seconds", 1000).value == pytest.approx(30 + 1000 * 4.0 / 200)
    assert price(own, "peak_bytes", 0).value == 9
    silent = spend("baseline", phases={"step": Phase(seconds=1.0)})
    assert price(silent, "peak_bytes", 0).reason == "the peak of its trial was not measured"
    assert price(silent, "seconds", 5).reason == "its time of answering was not recorded"
    assert price(silent, "seconds", 0).value == 1.0


def test_operations_of_training_and_of_answers() -> None:
    assert price(spend(searched=1), "flops", 0).value == pytest.approx(3e9 * 150 * 2)
    assert price(spend(), "flops", 32).value == pytest.approx(3e9 * 150 + 32 * 1e9 / 16)
    assert price(spend(alone={"examples_per_step": None}), "flops", 32).value is None
    unknown = price(spend(alone={"forward_flops": None, "unmeasured": {"forward_flops": "an op"}}), "flops", 0)
    assert (unknown.value, unknown.reason) == (None, "an op")


def test_what_is_not_known_is_none_with_a_reason() -> None:
    own = spend(alone={"step_seconds": None, "unmeasured": {"step_seconds": "the probe was killed"}})
    assert train_seconds(own).reason == "the probe was killed"
    assert price(own, "seconds", 10).reason == "the probe was killed"
    assert price(spend(steps=None), "seconds", 10).reason == "its steps were not recorded"
    assert price(spend(status="failed"), "seconds", 10).reason == "no finished trial"


def test_prices_are_alone_for_all_or_for_none() -> None:
    good, blind = spend(), spend(alone={"step_seconds": None})
    assert measured_alone([good, spend("prompter"), spend("baseline")])
    assert not measured_alone([good, blind])
    assert not measured_alone([good, spend(steps=None)])
    assert measured_alone([good, spend(alone={"step_seconds": None}, status="failed")])
    assert train_seconds(good, alone=False).value == 30.0
    assert price(good, "seconds", 100, alone=False).value == pytest.approx(30 + 100 * 4.0 / 200)


def test_titles() -> None:
    assert title_cost(CostSpec(predictions=0), alone=True) == "training seconds alone x (1 + search trials)"
    assert title_cost(CostSpec(axis="flops", predictions=10), alone=True).endswith(" + 10 predictions")
    assert "peak memory" in title_cost(CostSpec(axis="peak_bytes"), alone=True)


def test_limits_are_compared_in_their_units() -> None:
    own = spend()
    limits = LimitsSpec(peak_gb=2.5, latency_ms=25, adapter_mb=1.5, train_minutes=1)
    broken = {one.limit: one.excess for one in find_breaches(own, limits, alone=True)}
    assert broken == {
        "peak_gb": pytest.approx(0.5),
        "adapter_mb": pytest.approx(0.5),
        "train_minutes": pytest.approx(0.25),
    }
    assert find_breaches(own, LimitsSpec(peak_gb=3), alone=True) == []
    assert find_breaches(own, LimitsSpec(), alone=True) == []


def test_what_has_no_model_or_adapter_keeps_those_limits() -> None:
    limits = LimitsSpec(peak_gb=0.001, adapter_mb=0.001)
    assert find_breaches(spend("baseline"), limits, alone=True) == []
    assert [one.limit for one in find_breaches(spend("prompter"), limits, alone=True)] == ["peak_gb"]


def test_the_nearest_is_the_one_with_the_least_relative_excess() -> None:
    far, near, unknown = Breach("peak_gb", 8, 12), Breach("latency_ms", 100, 110), Breach("adapter_mb", 1, None, "x")
    assert find_nearest({"a": [far], "b": [near], "c": [unknown]}) == ("b", near)
    assert find_nearest({"a": [far, near], "b": [unknown, near]}) == ("a", far)
    assert near.clause == "latency_ms: 110 ms, limit 100 ms, over by 10 ms"
    assert unknown.clause == "adapter_mb: not known (x), limit 1 MB"
