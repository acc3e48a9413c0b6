"""`advise` from a study file, with its measuring process."""

import json

import pytest

STUDY = """
name: tiny
data:
  source: {{kind: files, all: {reviews}}}
  columns: {{text: review, label: verdict}}
backbones:
  bert: {{kind: random}}
methods:
  lora: {{kind: lora}}
  asked: {{kind: prompting}}
training: {{epochs: 1, max_length: 40}}
execution: {{device: cpu, threads: 1}}
scales:
  small: {{seeds: [1]}}
"""


@pytest.fixture
def study(reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(reviews=reviews), encoding="utf-8")
    return path


def test_a_study_is_advised_and_nothing_written(whichtune, study, tmp_path):
    ended = whichtune("advise", study, "--scale", "small", "--set", "methods.lora.rank=2", "--json")
    assert ended.code == 0, ended.err
    advice = json.loads(ended.out)
    assert (advice["study"], advice["scale"], advice["threads"]) == ("tiny", "small", 1)
    by_name = {one["estimate"]["candidate"]: one for one in advice["candidates"]}
    assert by_name["lora@bert"]["estimate"]["training_seconds"]["value"] > 0
    assert by_name["lora@bert"]["least_trainings"] == 1
    assert by_name["asked@bert"]["estimate"]["unsupported"]
    assert "measuring on bert" in ended.err
    assert {path.name for path in tmp_path.iterdir()} <= {"study.yaml", "cache"}


def test_the_table_reads_at_80_columns(whichtune, study, monkeypatch):
    from whichtune.study import advising
    from whichtune.study.gauging import blank, describe
    from whichtune.study.plan import list_candidates

    def guess(folder, request):
        from whichtune.spec.read import load_stored_study

        plan = list_candidates(load_stored_study(folder.spec)[0])
        return advising.Gauged(estimates=[blank(describe(one), "a guess") for one in plan if one.backbone])

    monkeypatch.setattr(advising.advise, "__kwdefaults__", {"scale": None, "measure": guess})
    ended = whichtune("advise", study)
    assert ended.code == 0, ended.err
    for title in ("One training of each", "What to try first", "What this rests on", "Not counted"):
        assert title in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "asked@bert, lora@bert: time of training" in ended.out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("nowhere.yaml",), "nowhere.yaml"),
        (("study.yaml", "--scale", "smal"), "did you mean 'small'"),
        (("study.yaml", "--set", "methods.lora.rnk=2"), "rnk"),
        (("study.yaml", "--set", "execution.device=cuda:7"), "execution.device"),
    ],
)
def test_wrong_input_ends_with_2(whichtune, study, given, told):
    ended = whichtune("advise", *given)
    assert ended.code == 2
    assert told in ended.told
    assert "Traceback" not in ended.err
