"""Limits and costs in a study file."""

from __future__ import annotations

import pytest

from whichtune.errors import SpecError
from whichtune.spec.read import load_stored_study, resolve_study
from whichtune.spec.verdict import CostSpec, LimitsSpec
from whichtune.spec.write import dump_study

RAW = {
    "name": "a",
    "data": {"source": {"kind": "movie-reviews"}},
    "backbones": {"m": {"kind": "minilm"}},
    "methods": {"lora": {"kind": "lora"}},
}
ALL = {"peak_gb": 8, "latency_ms": 20, "adapter_mb": 10, "train_minutes": 30}


def test_nothing_is_limited_unless_asked_for() -> None:
    study = resolve_study(RAW)
    assert study.limits.given() == {}
    assert study.cost == CostSpec(axis="seconds", predictions=100_000)


def test_limits_and_cost_are_read_and_come_back(tmp_path) -> None:
    study = resolve_study(RAW | {"limits": ALL, "cost": {"axis": "peak_bytes", "predictions": 0}})
    assert study.limits.given() == ALL
    path = tmp_path / "study.yaml"
    path.write_text(dump_study(study, {}), encoding="utf-8")
    assert load_stored_study(path)[0] == study


def test_overrides_lay_one_limit_over_another() -> None:
    study = resolve_study(RAW | {"limits": {"latency_ms": 20}}, overrides=["limits.peak-gb=8", "cost.axis=peak-bytes"])
    assert study.limits == LimitsSpec(latency_ms=20, peak_gb=8)
    assert study.cost.axis == "peak_bytes"


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"limits": {"peak_gb": 0}}, "limits.peak_gb"),
        ({"limits": {"peak": 8}}, "peak_gb"),
        ({"cost": {"axis": "euros"}}, "seconds"),
        ({"cost": {"predictions": -1}}, "cost.predictions"),
    ],
)
def test_what_makes_no_sense_is_refused(over, said) -> None:
    with pytest.raises(SpecError, match=said):
        resolve_study(RAW | over)


def test_they_decide_no_trial(plan_identities) -> None:
    assert plan_identities(RAW) == plan_identities(RAW | {"limits": ALL, "cost": {"predictions": 1}})


@pytest.fixture
def plan_identities():
    """Return a function that gives the identities of a study's trials, with made-up fingerprints."""
    from whichtune.study.plan import Fingerprints, identity_of, plan_study

    def identify(raw) -> list:
        study = resolve_study(raw)
        known = Fingerprints("d", {"m": "w"}, {"m": "t"}, {}, {"m": ""})
        return [identity_of(planned, study, known) for planned in plan_study(study)]

    return identify
