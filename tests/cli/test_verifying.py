"""`whichtune verify` as a user meets it."""

import json
import shutil

import pytest

from whichtune.cli.verifying import tell_outcome
from whichtune.records.folder import StudyFolder
from whichtune.study.verifying import Verification


@pytest.fixture
def study(trained, tmp_path, monkeypatch):
    """A copy of the study that `train` made, under `runs`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(trained.parent / "cache"))
    return StudyFolder(shutil.copytree(trained, tmp_path / "runs" / "tiny"))


@pytest.fixture
def trial(study):
    return next(study.trial(one.id) for one in study.read_trials() if not one.baseline)


def test_an_equal_outcome_by_folder_and_by_the_beginning_of_an_id(study, trial, whichtune) -> None:
    ended = whichtune("verify", study.path)
    assert ended.code == 0, ended.err
    assert "Equal, bit for bit: predictions, curve, counts, scores, trained tensors" in " ".join(ended.out.split())
    majority = next(one for one in study.read_trials() if one.baseline)
    ended = whichtune("verify", majority.id[:6], "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["outcome"], found["differences"], found["agreement"]) == ("equal", [], 1)


def test_an_outcome_that_is_another_one_is_told_with_what_differs(trial, whichtune) -> None:
    lines = trial.curve.read_text().splitlines()
    first = json.loads(lines[0])
    trial.curve.write_text("\n".join([json.dumps({**first, "loss": first["loss"] + 1}), *lines[1:]]) + "\n")
    ended = whichtune("verify", trial.path.name[:8])
    assert ended.code == 1
    assert "Not equal" in ended.out
    assert "curve: loss" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "failed"}, "cannot be verified: the trial is failed"),
        ({"role": "search"}, "a search trial keeps no test predictions"),
    ],
)
def test_what_cannot_be_verified_is_one_message(trial, whichtune, change, told) -> None:
    trial.record.write_text(json.dumps(json.loads(trial.record.read_text()) | change))
    ended = whichtune("verify", trial.path)
    assert ended.code == 2
    assert told in ended.told
    assert "Traceback" not in ended.err
    assert whichtune("verify", "zzzz").code == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outcome": "within-noise", "agreement": 0.9981}, "within the measured noise (float32: up to 1e-05"),
        ({"outcome": "within-noise", "agreement": 0.9981}, "99.81 % of the rows alike"),
        ({"caveats": ["another version of torch"]}, "Device or versions are others, too, and may be why."),
        ({"agreement": None}, "not the same rows"),
        ({"failure": "failed: on purpose"}, "the second run ended failed: on purpose"),
    ],
)
def test_each_way_to_come_out_has_its_sentence(change, told) -> None:
    plain = {"trial": "t", "study": "s", "candidate": "c", "seed": 1, "outcome": "different", "precision": "float32"}
    plain |= {"tolerance": 1e-5, "agreement": 1.0, "rows": {"test": 9}, "steps": 3, "compared": ["predictions"]}
    plain |= {"caveats": [], "differences": [], "recorded_seconds": 1.0, "seconds": 1.0}
    assert told in tell_outcome(Verification.model_validate(plain | change))
