"""Trial records: closed, whole, and nothing unknown stands as a number."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from whichtune.records.trial import MetricValue, Parameters, SplitScores, TrialRecord


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
