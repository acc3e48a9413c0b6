"""Nothing but the legal sentences, whatever the evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whichtune.records.trial import AloneCost, Failure, MetricValue, Phase, Probe, SplitScores, TrialRecord
from whichtune.report import sentences
from whichtune.report.costs import describe_costs
from whichtune.report.limits import Breach
from whichtune.report.model import CandidateRow, MetricHead
from whichtune.report.pricing import Spending
from whichtune.report.quality import Evidence, describe_quality
from whichtune.report.sentences import LEGAL, is_legal, write_bound
from whichtune.report.verdict import Case, list_unpriced, take_verdict
from whichtune.spec.read import resolve_study
from whichtune.stats.intervals import sample_candidate
from whichtune.stats.power import Needs

NONE = Needs(None, None)
BOTH = Needs(12_000, 9)


def form_of(sentence: str) -> int:
    """Return the number of a sentence in the documentation."""
    (place,) = [place for place, form in enumerate(LEGAL, start=1) if form.fullmatch(sentence)]
    return place


@pytest.mark.parametrize(
    ("sentence", "number", "said"),
    [
        (
            sentences.recommend("a@m", 0.004, 0.0161, 0.02, "share"),
            1,
            "Use a@m: the cheapest shown to be at most 2 points below the best "
            "(95 %; estimate 0.4 points, at most 1.7 points).",
        ),
        (
            sentences.recommend("a", 0.0, 0.0, 0.013, "nats"),
            1,
            "Use a: the cheapest shown to be at most 0.013 nats below the best "
            "(95 %; estimate 0.000 nats, at most 0.000 nats).",
        ),
        (
            f"{sentences.promise('z', 0.031, 0.02, 'share')} "
            f"{sentences.guess('x', (0.01, 0.042), 0.02, 'share', BOTH)}",
            2,
            "Not enough data for a margin of 2 points; the smallest these data can promise is 3.1 points (z). "
            "Best guess, not shown: x, 1.0 points below, up to 4.2 points not excluded; "
            "needed: 12,000 items or 9 seeds.",
        ),
        (
            f"{sentences.promise('z', 0.031, 0.02, 'share')} "
            f"{sentences.guess('x', (0.01, 0.042), 0.02, 'share', NONE)}",
            2,
            "Not enough data for a margin of 2 points; the smallest these data can promise is 3.1 points (z). "
            "Best guess, not shown: x, 1.0 points below, up to 4.2 points not excluded; "
            "needed: more items and more seeds.",
        ),
        (
            sentences.promise("z", 0.0201, 0.02, "share"),
            2,
            "Not enough data for a margin of 2 points; the smallest these data can promise is 2.1 points (z).",
        ),
        (sentences.NO_BETTER, 3, "No candidate is shown to beat the baseline."),
        (
            sentences.compare_models([]),
            4,
            "One training each: this compares these trained models, not the methods.",
        ),
        (
            sentences.compare_models(["a", "b"]),
            4,
            "One training each (a, b): this compares these trained models, not the methods.",
        ),
        (
            sentences.price_limits(["a", "b"], (0.012, -0.001, 0.025), "share"),
            5,
            "Within the limits: a, b. The limits cost 1.2 points (-0.1..2.5) against the best outside them.",
        ),
        (
            sentences.collapse("p", 1, 3),
            6,
            "1 of 3 trainings of p collapsed; not recommended without restarts.",
        ),
        (sentences.need_third([]), 7, "Two trainings each: intervals only; a verdict needs three."),
        (
            sentences.stand_alone("81.2", "79.0..83.1"),
            8,
            "One candidate: nothing to compare it with; its score is 81.2 (79.0..83.1).",
        ),
        (
            sentences.exclude_all("a", Breach("peak_gb", 8.0, 9.25)),
            9,
            "No candidate is within the limits; the nearest is a, over peak_gb by 1.25 GB.",
        ),
        (
            sentences.exclude_all("a", Breach("latency_ms", 8.0, None, "not probed")),
            9,
            "No candidate is within the limits; the nearest is a, over latency_ms by an amount that was not measured.",
        ),
        (
            sentences.miss_costs({"not probed": ["a@m"]}),
            10,
            "Cost unknown: a@m (not probed): it may be cheaper or dearer than any other.",
        ),
        (
            sentences.miss_costs({"not probed": ["a", "b"], "no steps": ["c"]}),
            10,
            "Cost unknown: a, b (not probed); c (no steps): each may be cheaper or dearer than any other.",
        ),
    ],
)
def test_each_sentence_reads_as_documented(sentence, number, said) -> None:
    assert sentence == said
    assert form_of(sentence) == number


def test_additions_to_a_recommendation() -> None:
    first = sentences.recommend("a", 0.004, 0.016, 0.02, "share")
    for added, said in (
        (sentences.leave_open("y", BOTH), "Cheaper y is not settled: about 12,000 items or 9 seeds would settle it."),
        (sentences.leave_open("y", Needs(None, 9)), "Cheaper y is not settled: about 9 seeds would settle it."),
        (sentences.leave_open("y", NONE), "Cheaper y is not settled."),
        (sentences.rule_out_cheaper(0.02, "share"), "Every cheaper one is shown more than 2 points below."),
    ):
        assert added == said
        assert form_of(f"{first} {added}") == 1
        assert not is_legal(added)


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no difference between a and b.",
        "a and b tie.",
        "Use a.",
        "Use a: the cheapest shown to be at most 2 points below the best.",
        "No candidate is shown to beat the baseline. a is equal to b.",
        "",
    ],
)
def test_other_sentences_are_not_legal(sentence) -> None:
    assert not is_legal(sentence)


@given(value=st.floats(0, 0.3), margin=st.floats(0, 0.1))
def test_a_bound_is_rounded_up_and_stays_on_its_side_of_the_margin(value, margin) -> None:
    shown = float(write_bound(value, "share", margin).split()[0]) / 100
    assert shown >= value - 1e-5
    if abs(value - margin) > 1e-4:
        assert (shown <= margin + 1e-12) == (value <= margin)


METRIC = MetricHead(name="accuracy", title="accuracy", direction="higher", unit="share")
PROFILES = st.sampled_from(["good", "close", "poor", "constant", "mixed"])
CANDIDATES = st.fixed_dictionaries(
    {
        "profile": PROFILES,
        "seeds": st.sampled_from([1, 2, 3, 3, 3, 5]),
        "family": st.sampled_from(["tuner", "tuner", "prompter", "baseline"]),
        "fixed": st.booleans(),
        "diverged": st.sampled_from([0, 0, 0, 1]),
        "state": st.sampled_from(["finished", "finished", "finished", "failed", "does-not-fit"]),
        "probed": st.booleans(),
        "speed": st.floats(0.01, 10),
    }
)
LIMITS = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "peak_gb": st.floats(0.01, 10),
            "latency_ms": st.floats(0.01, 100),
            "adapter_mb": st.floats(0.01, 2),
            "train_minutes": st.floats(0.01, 2),
        },
    ),
)
STUDIES = st.fixed_dictionaries(
    {
        "candidates": st.lists(CANDIDATES, min_size=1, max_size=5),
        "rows": st.sampled_from([5, 60, 400]),
        "majority": st.booleans(),
        "margin": st.sampled_from([0.0, 0.5, 2.0, 10.0]),
        "limits": LIMITS,
        "axis": st.sampled_from(["seconds", "peak_bytes", "flops"]),
        "seed": st.integers(0, 99),
    }
)
SHARES = {"good": 0.9, "close": 0.895, "poor": 0.55, "constant": 0.5, "mixed": 0.8}


def make_trial(name: str, given: dict, seed: int, status: str, value: float | None) -> TrialRecord:
    trial = TrialRecord(
        id=f"{name}-{seed}", study="s", candidate=name, method=name, kind="majority" if name == "majority" else "lora",
        seed=seed, status=status, family=given["family"], baseline=given["family"] == "baseline",
        settings={}, identity={}, started_at="2026", steps=50 if given["family"] == "tuner" else None,
        adapter_bytes=10**6, probe=name if given["probed"] else None,
        phases={"step": Phase(seconds=given["speed"], peak_bytes=10**9), "predict": Phase(seconds=1.0)},
    )  # fmt: skip
    if status == "finished":
        metric = MetricValue(name="accuracy", value=value, direction="higher", unit="share")
        trial.scores = {"test": SplitScores(rows=100, metrics=[metric], predicted_labels=2)}
    else:
        trial.failure = Failure(kind="NonFiniteError" if status == "failed" else "DoesNotFitError", message="m")
    return trial


def make_case(made: dict) -> Case:
    rng = np.random.default_rng(made["seed"])
    raw = {
        "name": "s",
        "data": {"source": {"kind": "movie-reviews"}},
        "methods": {"majority": {"kind": "majority"}},
        "margin": made["margin"],
        "limits": made["limits"],
        "cost": {"axis": made["axis"]},
    }
    plain = {"profile": "constant", "seeds": 1, "family": "baseline", "fixed": True, "diverged": 0}
    plain |= {"state": "finished", "probed": False, "speed": 0.1}
    listed = {f"c{place}@m": one for place, one in enumerate(made["candidates"])}
    listed |= {"majority": plain} if made["majority"] else {}
    items, rows, evidence, spendings = rng.random(made["rows"]), [], {}, {}
    for name, own in listed.items():
        row, evidence[name], spendings[name] = make_candidate(name, own, items, rng)
        rows.append(row)
    return Case(resolve_study(raw), METRIC, rows, evidence, spendings)


def make_candidate(name: str, own: dict, items, rng) -> tuple[CandidateRow, Evidence, Spending]:
    seeds = 1 if own["fixed"] else own["seeds"]
    count = seeds if own["state"] == "finished" else 0
    spread = 0.0 if own["profile"] == "constant" else 0.3
    share = np.full(count, SHARES[own["profile"]])
    if own["profile"] == "mixed" and count:
        share[0] = 0.4
    noise = rng.random((count, len(items)))
    scores = (items * (1 - spread) + noise * spread < share[:, None]).astype(float)
    trials = [make_trial(name, own, place, "finished", float(scores[place].mean())) for place in range(count)]
    if own["diverged"] and own["family"] == "tuner":
        trials.append(make_trial(name, own, 99, "failed", None))
    if own["state"] != "finished":
        trials.append(make_trial(name, own, 98, own["state"], None))
    evidence = Evidence([one for one in trials if one.status == "finished"])
    if count and len(items) > 1:
        ids = [f"r{place}" for place in range(len(items))]
        evidence.samples["accuracy"] = sample_candidate(name, ids, scores.mean(axis=1), scores, binary=True)
    alone = AloneCost(steps=5, step_seconds=own["speed"], peak_bytes=10**9, forward_flops=1e9, backward_flops=2e9)
    alone.examples_per_step = 8
    probes = {name: Probe(id=name, candidate=name, method=name, device="cpu", threads=1, alone=alone)}
    row = CandidateRow(
        candidate=name,
        method=name,
        kind=trials[0].kind if trials else "lora",
        baseline=own["family"] == "baseline",
        family=own["family"],
        deterministic=own["fixed"],
        seeds=[one.seed for one in evidence.trials],
        quality=[describe_quality(evidence, METRIC)] if evidence.trials else [],
        reason=None if evidence.trials else "failed",
        costs=describe_costs(trials, probes),
    )
    return row, evidence, Spending(row, trials, 2, probes[name])


@given(made=STUDIES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_verdict_holds_legal_sentences_alone(made) -> None:
    case = make_case(made)
    verdict = take_verdict(case)
    scored = [row for row in case.rows if row.quality]
    if not scored or list_unpriced(case):
        assert verdict is None
        return
    assert verdict is not None
    numbers = [form_of(sentence) for sentence in verdict.sentences]
    assert numbers, "there is always something to say"
    assert numbers.count(3) <= 1
    assert 3 not in numbers[1:]
    assert verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert sorted(one.candidate for one in verdict.prices) == sorted(row.candidate for row in case.rows)
    costs = [one.cost for one in verdict.prices if one.cost is not None]
    assert costs == sorted(costs)
    assert all(one.reason for one in verdict.prices if one.cost is None)
    assert (verdict.recommended is not None) == (1 in numbers)
    assert not (verdict.recommended and verdict.guess)
    check_recommended(verdict, made)
    if {4, 7, 8, 9} & set(numbers):
        assert verdict.recommended is None
        assert verdict.guess is None
        assert not verdict.other_margins
    if 9 in numbers:
        assert numbers == [9]


def check_recommended(verdict, made) -> None:
    named = {one.candidate: one for one in verdict.prices}
    if verdict.recommended is not None:
        own = named[verdict.recommended]
        assert own.recommended
        assert own.guaranteed is not None
        assert own.guaranteed <= verdict.margin
        assert own.collapsed == 0
        assert not own.outside
        bounds = [one.guaranteed for one in named.values() if not one.collapsed and one.guaranteed is not None]
        assert own.cost is not None or sum(bound <= verdict.margin for bound in bounds) == 1
        assert own.absent is None
        cheaper = [one for one in verdict.prices if one.cost is not None and own.cost is not None]
        cheaper = [one for one in cheaper if one.cost < own.cost and one.guaranteed is not None]
        assert all(one.collapsed or one.guaranteed > verdict.margin for one in cheaper)
    if not made["limits"]:
        assert not any(one.outside for one in verdict.prices)
