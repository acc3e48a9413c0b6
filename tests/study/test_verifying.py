"""A finished trial run again: equal, tampered with, or not to be verified."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from whichtune.errors import InputError, RecordError
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions, write_predictions
from whichtune.spec.study import StudySpec
from whichtune.study import verifying
from whichtune.study.run import run_study
from whichtune.study.verifying import verify

METHODS = {
    "majority": {"kind": "majority"},
    "frozen": {"kind": "frozen-features"},
    "lora": {"kind": "lora", "learning_rate": 1e-2, "training": {"epochs": 2}},
}
SHORT = {"template": {"query": "{{ text }} =>", "example": "{{ text }} => {{ answer }}", "stop": []}}


@pytest.fixture(scope="module")
def original(table, tmp_path_factory):
    """A study of one seed that ran once."""
    place = tmp_path_factory.mktemp("original")
    spec = {
        "name": "tiny",
        "data": {"source": {"kind": "files", "all": str(table)}},
        "backbones": {"bert": {"kind": "random", "family": "bert"}},
        "methods": METHODS,
        "training": {"epochs": 1, "batch_size": 16, "max_length": 40},
        "seeds": (1,),
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe": False},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHICHTUNE_CACHE", str(place / "cache"))
        return run_study(StudySpec.model_validate(spec), place / "runs", Silent()).folder


@pytest.fixture
def study(original, tmp_path, monkeypatch):
    """A copy of it to be tampered with."""
    monkeypatch.setenv("WHICHTUNE_CACHE", str(original.path.parents[1] / "cache"))
    return StudyFolder(shutil.copytree(original.path, tmp_path / "runs" / "tiny"))


@pytest.fixture
def lora(study):
    return next(study.trial(one.id) for one in study.read_trials() if one.kind == "lora")


class Silent:
    """A watcher that is told everything and keeps nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


def state_of(folder):
    return {
        str(path.relative_to(folder.path)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.path.rglob("*")
        if path.is_file()
    }


def change_record(folder, change):
    record = json.loads(folder.record.read_text())
    change(record)
    folder.record.write_text(json.dumps(record))


def test_every_kind_of_trial_comes_out_equal_and_its_study_stays_untouched(study, quiet):
    before, threads = state_of(study), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for record in study.read_trials():
            found = verify(study.trial(record.id), quiet())
            assert (found.outcome, found.differences, found.caveats) == ("equal", [], []), record.candidate
            assert found.agreement == 1
            assert found.rows["test"] == record.scores["test"].rows
            assert ("curve" in found.compared) == ("trained tensors" in found.compared) == (record.family == "tuner")
        assert torch.get_num_threads() == 2, "the record's one thread is not left behind"
    finally:
        torch.set_num_threads(threads)
    assert state_of(study) == before


def test_it_runs_under_the_recorded_threads(lora, quiet, monkeypatch):
    seen = []
    monkeypatch.setattr(
        verifying, "execute", lambda *given: seen.append(torch.get_num_threads()) or verifying_execute(*given)
    )
    change_record(lora, lambda record: record["device"].update(threads=2))
    assert verify(lora, quiet()).outcome in {"equal", "within-noise", "different"}
    assert seen == [2]
    assert torch.get_num_threads() == 1


verifying_execute = verifying.execute


def test_a_tampered_answer_is_found(lora, quiet):
    tables = read_predictions(lora.predictions)
    own = tables["test"]
    other = {"good": "bad", "bad": "good"}[own.parsed[3]]
    own.parsed[3] = other
    write_predictions(lora.predictions, list(tables.values()))
    found = verify(lora, quiet())
    assert found.outcome == "different"
    answer = next(one for one in found.differences if one.name == "parsed")
    assert (answer.part, answer.differing, answer.values, answer.noise) == ("predictions (test)", 1, 20, False)
    assert answer.example == f"row {own.ids[3]}: {other!r} -> { ({'good': 'bad', 'bad': 'good'}[other])!r}"
    assert found.agreement == 0.95
    assert any("computed again" in one.name for one in found.differences), "the metrics do not follow any more"


@pytest.mark.parametrize(("steps", "outcome"), [(1, "within-noise"), (10_000, "different")])
def test_numbers_are_held_to_the_tolerance_of_the_precision(lora, quiet, steps, outcome):
    tables = read_predictions(lora.predictions)
    loss = tables["test"].loss.copy()
    loss[2] += steps * np.spacing(loss[2])
    tables["test"].loss = loss
    write_predictions(lora.predictions, list(tables.values()))
    found = verify(lora, quiet())
    (one,) = [one for one in found.differences if one.kind == "number"]
    assert (one.name, one.differing, one.greatest) == ("loss", 1, pytest.approx(steps * np.spacing(loss[2]), rel=0.1))
    assert found.tolerance == 1e-5
    assert (one.distance <= 1e-5) == (outcome == "within-noise")
    assert found.outcome == outcome


def spoil_curve(folder):
    lines = [json.loads(line) for line in folder.curve.read_text().splitlines()]
    lines[1]["loss"] += 0.5
    folder.curve.write_text("".join(json.dumps(line) + "\n" for line in lines))


def cut_curve(folder):
    folder.curve.write_text("\n".join(folder.curve.read_text().splitlines()[:-2]) + "\n")


def spoil_tensor(folder):
    path = folder.adapter / "adapter.safetensors"
    tensors = load_file(path)
    name = min(tensors)
    tensors[name].view(-1)[0] += 1
    save_file(tensors, path)


def lose_tensors(folder):
    (folder.adapter / "adapter.safetensors").unlink()


def spoil_score(folder):
    change_record(folder, lambda record: record["scores"]["test"]["metrics"][0].update(value=0.99))


def spoil_count(folder):
    change_record(folder, lambda record: record["parameters"].update(trainable=7))


@pytest.mark.parametrize(
    ("spoil", "part", "name"),
    [
        (spoil_curve, "curve", "loss"),
        (cut_curve, "curve", "lines"),
        (spoil_tensor, "trained tensors", None),
        (lose_tensors, "trained tensors", "adapter.safetensors"),
        (spoil_score, "scores (test)", "accuracy"),
        (spoil_count, "counts", "parameters.trainable"),
    ],
)
def test_whatever_was_changed_is_named(lora, quiet, spoil, part, name):
    spoil(lora)
    found = verify(lora, quiet())
    assert found.outcome == "different"
    named = [one for one in found.differences if one.part == part and name in {None, one.name}]
    assert len(named) == 1
    assert not named[0].noise


def test_other_rows_are_refused_before_anything_runs(study, lora, quiet, table, tmp_path):
    changed = tmp_path / "changed.csv"
    changed.write_text(table.read_text().replace("fine", "nice", 1))
    study.spec.write_text(study.spec.read_text().replace(str(table), str(changed)))
    watcher = quiet()
    with pytest.raises(RecordError, match="no longer what they were in the trial: the rows"):
        verify(lora, watcher)
    assert watcher.steps == 0


def test_rows_whose_source_is_gone_come_from_the_study(study, lora, quiet, table):
    study.spec.write_text(study.spec.read_text().replace(str(table), str(table) + ".gone"))
    watcher = quiet()
    found = verify(lora, watcher)
    assert found.outcome == "equal"
    assert found.caveats == watcher.notes
    assert "the rows are those kept in" in found.caveats[0]


def test_other_weights_are_refused(study, lora, quiet):
    text = study.spec.read_text()
    assert "hidden_size" not in text
    study.spec.write_text(text.replace("config: {}", "config: {hidden_size: 48}"))
    assert study.spec.read_text() != text
    with pytest.raises(RecordError, match="the weights, or how they are loaded"):
        verify(lora, quiet())


def test_the_settings_are_those_of_the_record_not_of_the_study_file(study, lora, quiet):
    text = study.spec.read_text()
    study.spec.write_text(text.replace("batch_size: 16", "batch_size: 8").replace("rank: 8", "rank: 2"))
    assert study.spec.read_text() != text
    assert verify(lora, quiet()).outcome == "equal"


def fail(record):
    record |= {"status": "failed", "failure": {"kind": "X", "message": "on purpose"}}


def search(record):
    record["role"] = "search"


def elsewhere(record):
    record["device"] |= {"kind": "cuda", "name": "A GPU"}


@pytest.mark.parametrize(
    ("change", "told"),
    [(fail, r"failed \(on purpose\)"), (search, "a search trial"), (elsewhere, r"it ran on cuda \(A GPU\)")],
)
def test_what_cannot_be_verified_is_told(lora, quiet, change, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change_record(lora, change)
    with pytest.raises(InputError, match=f"cannot be verified.*{told}"):
        verify(lora, quiet())


def test_a_trial_away_from_its_study_cannot_be_verified(lora, quiet, tmp_path):
    moved = lora.path.rename(tmp_path / "alone")
    with pytest.raises(RecordError, match="its study, which names data and weights, is not there"):
        verify(type(lora)(moved), quiet())


def test_other_versions_and_devices_are_told_before_the_run(lora, quiet):
    def change(record):
        record["versions"]["torch"] = "1.0"
        record["device"]["name"] = "another processor"

    change_record(lora, change)
    watcher, notes = quiet(), []
    watcher.on_trial = lambda *_: notes.extend(watcher.notes)
    found = verify(lora, watcher)
    assert found.outcome == "equal"
    assert [one.partition(":")[0] for one in notes] == ["another device", "another version of torch"]
    assert notes == found.caveats


def test_a_second_run_that_fails_is_not_equal(lora, quiet, monkeypatch):
    from whichtune.study import execute

    def broken(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(execute, "build_assembly", broken)
    found = verify(lora, quiet())
    assert (found.outcome, found.failure) == ("different", "failed: on purpose")


def test_prompters_and_searched_trials_are_verified(table, tmp_path, quiet, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    spec = {
        "name": "words",
        "task": {"kind": "instruction-classification", "prompt": SHORT, "decoding": {"max_new_tokens": 6}},
        "data": {"source": {"kind": "files", "all": str(table)}},
        "backbones": {"tiny": {"kind": "random", "family": "gpt", "config": {"initializer_range": 0.2}}},
        "methods": {
            "ask": {"kind": "prompting", "shots": {"count": 1, "choice": "per-item"}, **SHORT},
            "lora": {"kind": "lora", "search": {"rank": [2, 4]}},
        },
        "search": {"trials": 4, "best": 1, "repeats": 0, "own": False},
        "training": {"epochs": 1, "batch_size": 16, "max_length": 120},
        "seeds": (1,),
        "execution": {"threads": 1, "device": "cpu", "check": False},
        "measure": {"probe": False},
    }
    folder = run_study(StudySpec.model_validate(spec), tmp_path / "runs", quiet()).folder
    records = {one.kind: one for one in StudyFolder(folder.path).read_trials()}
    assert records["lora"].tuned
    for kind in ("prompting", "lora"):
        assert records[kind].status == "finished", records[kind].failure
        found = verify(folder.trial(records[kind].id), quiet())
        assert (found.outcome, found.differences) == ("equal", [])
