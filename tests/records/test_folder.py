"""A study's folder: where things stand, and what a kill leaves."""

from __future__ import annotations

import json

import pytest

from whichtune.errors import RecordError
from whichtune.records.folder import StudyFolder, find_study, read_lines
from whichtune.records.search import SearchLog
from whichtune.records.trial import AloneCost, Probe, TrialRecord


def write(folder: StudyFolder, identifier: str, started: str = "2026-01-01T00:00:00") -> TrialRecord:
    record = TrialRecord(
        id=identifier, study="s", candidate="c", method="c", kind="lora", seed=1, status="finished", settings={},
        identity={}, started_at=started,
    )  # fmt: skip
    folder.trial(identifier).write(record)
    return record


@pytest.fixture
def folder(tmp_path) -> StudyFolder:
    return StudyFolder(tmp_path / "s")


def test_trials_without_a_plan_are_read_oldest_first(folder) -> None:
    late, early = write(folder, "a", "2026-01-02"), write(folder, "b", "2026-01-01")
    (folder.path / "trials" / "cut-at-birth").mkdir()
    assert folder.read_trials() == [early, late]
    assert folder.read_plan() is None


def test_a_plan_orders_trials_and_leaves_out_those_of_earlier_settings(folder) -> None:
    for name in "abc":
        write(folder, name)
    listed = [{"id": name, "candidate": "c", "seed": 1} for name in ("c", "a", "not-started")]
    folder.plan.write_text(json.dumps({"total": 5, "trials": listed}))
    assert [one.id for one in folder.read_trials()] == ["c", "a"]
    plan = folder.read_plan()
    assert plan is not None
    assert (plan.total, plan.trials) == (5, ("c", "a", "not-started"))


def test_trials_of_a_search_are_read_apart(folder) -> None:
    final, tried = write(folder, "a"), write(folder, "b")
    tried.role = "search"
    folder.trial("b").write(tried)
    assert folder.read_trials() == [final]
    assert folder.read_trials("search") == [tried]


def test_what_searches_chose_is_read_where_there_is_any(folder) -> None:
    assert folder.read_searches() is None
    log = SearchLog(settings={"trials": 8}, metric="accuracy")
    folder.path.mkdir(parents=True)
    folder.searches.write_text(log.model_dump_json())
    assert folder.read_searches() == log


def test_a_record_from_before_there_were_searches_is_a_final_one(folder) -> None:
    record = write(folder, "a")
    held = json.loads(folder.trial("a").record.read_text())
    for name in ("role", "tuned", "purpose"):
        del held[name]
    folder.trial("a").record.write_text(json.dumps(held))
    assert folder.read_trials() == [record]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"total": 1}', '{"total": 1, "trials": [1]}'])
def test_a_broken_plan_is_named(folder, content) -> None:
    write(folder, "a")
    folder.plan.write_text(content)
    with pytest.raises(RecordError, match=r"plan\.json: not a readable plan"):
        folder.read_trials()


@pytest.mark.parametrize("content", [b"", b'{"id": "a"', b"\xff\xfe", b'{"id": "a"}'])
def test_a_broken_record_is_named(folder, content) -> None:
    write(folder, "a")
    folder.trial("a").record.write_bytes(content)
    with pytest.raises(RecordError, match=r"trial\.json: not a readable record"):
        folder.read_trials()


def test_no_record_is_named(folder) -> None:
    with pytest.raises(RecordError, match="no such record"):
        folder.trial("a").read()


def test_a_record_is_replaced_whole(folder) -> None:
    record = write(folder, "a")
    record.status = "failed"
    folder.trial("a").write(record)
    assert folder.trial("a").read().status == "failed"
    assert [path.name for path in folder.trial("a").path.iterdir()] == ["trial.json"]


def test_probes_by_id(folder) -> None:
    probe = Probe(id="p", candidate="c", method="c", device="cpu", threads=1, alone=AloneCost(steps=5))
    folder.probe("p").parent.mkdir(parents=True)
    folder.probe("p").write_text(probe.model_dump_json())
    assert folder.read_probes() == {"p": probe}


def test_costs_of_several_workers(folder) -> None:
    for worker in ("b", "a"):
        folder.costs(worker).parent.mkdir(parents=True, exist_ok=True)
        folder.costs(worker).write_text(json.dumps({"what": worker}) + "\n")
    assert [line["what"] for line in folder.read_costs()] == ["a", "b"]


@pytest.mark.parametrize("end", [b'{"step": 3, "lo', b'{"step": 3, "text": "\xe6\x98', b"", b"3", b"\n"], ids=repr)
def test_a_line_cut_short_is_passed_over(tmp_path, end) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + end)
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_lines_behind_a_cut_one_are_read(tmp_path) -> None:
    path = tmp_path / "costs.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st{"step": 2}\n{"step": 3}\n')
    assert [line["step"] for line in read_lines(path)] == [1, 3]


def test_lines_end_at_line_feeds_alone(tmp_path) -> None:
    path = tmp_path / "costs.jsonl"
    path.write_text(json.dumps({"about": "a\u2028b\x85c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [line["about"] for line in read_lines(path)] == ["a\u2028b\x85c"]
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_a_folder_without_a_study_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match=r"no study here; allowed: a folder with study\.yaml"):
        find_study(tmp_path)
    (tmp_path / "study.yaml").touch()
    assert find_study(tmp_path).path == tmp_path
