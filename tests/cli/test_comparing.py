"""`whichtune compare` as a user meets it."""

import json
import shutil

import pytest


@pytest.fixture
def twice(trained, reviews, tmp_path, monkeypatch, whichtune):
    """Two studies of the same rows: one of them trained with another seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(trained, tmp_path / "runs" / "one")
    shutil.copytree(trained, tmp_path / "runs" / "two")
    for path in (tmp_path / "runs" / "two").glob("trials/*/trial.json"):
        record = json.loads(path.read_text())
        if record["candidate"] != "majority":
            folder = path.parent.rename(path.parent.with_name("f" * 16))
            record["id"] = folder.name
            (folder / "trial.json").write_text(json.dumps(record))
    plan = tmp_path / "runs" / "two" / "plan.json"
    plan.unlink()
    return whichtune


def test_studies_by_name_and_trials_by_id(twice) -> None:
    ended = twice("compare", "one", "runs/two")
    assert ended.code == 0, ended.err
    assert "A: one (study)" in ended.out
    assert "within" in ended.out or "not settled" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    versus = json.loads(twice("compare", "one", "two", "--json").out)
    (pair,) = versus["crossings"]
    assert pair["difference"] == 0
    assert any("the same trial" in one["reason"] for one in versus["unpaired"])
    again = json.loads(twice("compare", "ffff", "one", "--json", "--margin", "5").out)
    assert again["first"]["what"] == "trial"
    assert again["margin_amount"] == 0.05


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("one", "three"), "neither a study nor a trial: got 'three'"),
        (("one", "two", "--split", "tset"), "did you mean 'test'?"),
        (("one", "one"), "A and B are the same"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_message(twice, arguments, told) -> None:
    ended = twice("compare", *arguments)
    assert ended.code == 2
    assert told in ended.told
    assert "Traceback" not in ended.err
