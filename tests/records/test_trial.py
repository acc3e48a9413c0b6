"""Trial records: closed, whole, and nothing unknown stands as a number."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from whichtune.records.trial import LatencyFigures, MetricValue, Parameters, SplitScores, TrialRecord


def make(**over) -> TrialRecord:
    given = {
        "id": "1", "study": "s", "candidate": "lora@m", "method": "lora", "kind": "lora", "seed": 0,
        "status": "finished", "settings": {"rank": 8}, "identity": {"seed": 0}, "started_at": "2026-01-01T00:00:00",
    }  # fmt: skip
    return TrialRecord(**(given | over))


def test_round_trip_through_json() -> None:
    value = MetricValue(name="loss", value=None, direction="lower", unit="nats")
    record = make(scores={"test": SplitScores(rows=3, metrics=[value], predicted_labels=1)}, wall_seconds=0.1)
    assert TrialRecord.model_validate_json(record.model_dump_json()) == record


def test_unknown_fields_are_noticed() -> None:
    with pytest.raises(ValidationError):
        make(seconds=1)


def test_two_records_share_no_defaults() -> None:
    first, second = make(), make()
    first.parameters.trunk = 5
    first.traps.append("x")
    assert second.parameters.trunk is None
    assert second.traps == []


@pytest.mark.parametrize(
    ("parts", "total"), [((1, 2, 3), 6), ((1, 2, 0), 3), ((1, None, 3), None), ((None, None, None), None)]
)
def test_a_total_needs_all_its_parts(parts, total) -> None:
    trunk, head, added = parts
    assert Parameters(trunk=trunk, head=head, added=added).total == total


def test_older_records_tell_their_family_by_the_baseline() -> None:
    assert (make().known_family, make(baseline=True).known_family) == ("tuner", "baseline")
    assert make(family="prompter").known_family == "prompter"
    with pytest.raises(ValidationError):
        make(family="prompters")


def test_latency_in_tokens_a_second() -> None:
    told = {"batch": 4, "merged": False, "median_seconds": 0.5, "p95_seconds": 0.6}
    assert LatencyFigures(**told, phase="prefill", tokens=100).tokens_per_second == 800
    assert LatencyFigures(**told, phase="decode", plain=True, tokens=1).tokens_per_second == 8
    older = LatencyFigures(**told)
    assert (older.phase, older.plain, older.tokens_per_second) == ("forward", False, None)
