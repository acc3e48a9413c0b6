"""Forgetting in a study: measured once before and once a training, outside of every identity."""

import json

import numpy as np
import pytest

from whichtune.engine.adapter import load_adapter
from whichtune.errors import InputError, SpecError
from whichtune.fetch.atomic import write_text
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.records.retention import MeasuredTexts, read_rows
from whichtune.report.comparison import compare_study
from whichtune.spec.digest import digest
from whichtune.spec.read import read_study
from whichtune.spec.study import StudySpec
from whichtune.study import retaining
from whichtune.study.plan import plan_study, probe_id
from whichtune.study.run import run_study

TEXT = "\n\n".join(f"Paragraph {place} says that {word} is a word." for place, word in enumerate("abcdefghij"))
TINY = {"tiny": {"kind": "random", "family": "gpt2", "config": {"initializer_range": 0.2}}}
BERT = {"bert": {"kind": "random", "family": "bert"}}
METHODS = {
    "majority": {"kind": "majority"},
    "lora": {"kind": "lora", "learning_rate": 5e-2},
    "frozen": {"kind": "frozen-features"},
    "soft": {"kind": "prompt-tuning", "virtual_tokens": 3, "learning_rate": 0.1},
}


@pytest.fixture
def general(tmp_path):
    """A text file of ten paragraphs, an empty one and one that the study trains on."""
    path = tmp_path / "general.txt"
    path.write_text(TEXT + "\n\n \n\n", encoding="utf-8")
    return path


def measures(general, **changes):
    text = {"kind": "text-loss", "source": {"kind": "text-file", "path": str(general)}, "max_length": 32}
    return {"probe": False, "retention": {"general": text | changes}}


@pytest.fixture
def counting(monkeypatch):
    """Count how often texts are judged."""
    calls = []
    own = retaining.judge_texts

    def judge(speaker, *rest):
        calls.append(speaker.inputs)
        return own(speaker, *rest)

    monkeypatch.setattr(retaining, "judge_texts", judge)
    return calls


def test_before_is_measured_once_and_after_once_a_training(tiny_study, general, tmp_path, quiet, counting):
    methods = {name: METHODS[name] for name in ("majority", "lora", "soft")}
    spec = tiny_study(backbones=TINY, methods=methods, measure=measures(general))
    outcome = run_study(spec, tmp_path / "runs", quiet())
    tuned = [one for one in outcome.records if one.family == "tuner"]
    assert len(tuned) == 4
    assert len(counting) == 1 + len(tuned)
    figures = {(one.candidate, one.seed): one.retention["general"] for one in tuned}
    assert {(one.id, one.before, one.rows, one.counted) for one in figures.values()} == {
        (figures["lora@tiny", 1].id, figures["lora@tiny", 1].before, 10, figures["lora@tiny", 1].counted)
    }, "the same rows, and one measure of the untouched model for all"
    for name in ("lora@tiny", "soft@tiny"):
        assert figures[name, 1].after != figures[name, 2].after != figures[name, 1].before
    assert (figures["lora@tiny", 1].merged, figures["soft@tiny", 1].merged) == (True, False)
    assert not next(one for one in outcome.records if one.baseline).retention
    assert all("retention" not in phase and "forgetting" not in phase for one in tuned for phase in one.phases)
    spent = [one["what"] for one in outcome.folder.read_costs()]
    assert (spent.count("forgetting, untouched"), spent.count("forgetting, tuned")) == (1, 4)
    shorter = tiny_study(backbones=TINY, methods={"lora": METHODS["lora"]}, measure=measures(general))
    run_study(shorter, tmp_path / "runs", quiet())
    assert len(counting) == 5, "resuming measures nothing again"
    held = [json.loads(outcome.folder.trial(one.id).record.read_text()) for one in tuned]
    assert all(one["retention"]["general"]["after"] is not None for one in held)

    general.write_text(TEXT.replace("says", "tells"), encoding="utf-8")
    again = run_study(shorter, tmp_path / "runs", quiet())
    assert len(counting) == 8, "another text is another measure"
    assert {one.retention["general"].before for one in again.records if one.family == "tuner"} != {
        figures["lora@tiny", 1].before
    }


def test_it_may_be_asked_for_later_and_is_no_part_of_an_identity(tiny_study, general, tmp_path, quiet):
    methods = {"majority": METHODS["majority"], "lora": METHODS["lora"]}
    plain = tiny_study(backbones=TINY, methods=methods)
    asked = tiny_study(backbones=TINY, methods=methods, measure=measures(general))
    first = run_study(plain, tmp_path / "runs", quiet())
    watcher = quiet()
    later = run_study(asked, tmp_path / "runs", watcher)
    assert [one.id for one in first.records] == [one.id for one in later.records]
    assert (watcher.steps, {found for *_, found in watcher.ended}) == (0, {True})
    lora = next(one for one in later.records if one.candidate == "lora@tiny" and one.seed == 2)
    backbone = load_backbone(asked.backbones["tiny"], LoadRequest())
    kept = read_rows(later.folder.trial(lora.id).retention(lora.retention["general"].id))
    assembly = load_adapter(later.folder.trial(lora.id).adapter, backbone)
    assert kept.value == lora.retention["general"].after != lora.retention["general"].before
    assembly.attachment.detach()
    one = plan_study(plain)[1]
    place, identity = {"name": "here"}, lora.identity
    known = digest(
        [
            {
                key: value
                for key, value in identity["method"].items()
                if key not in {"learning_rate", "head_learning_rate"}
            },
            {key: identity[key] for key in ("task", "data", "backbone", "tokenizer")},
            [
                plain.training_of(one.method),
                "sdpa",
                64,  # what `auto` stands for in the identity of a probe, as before there was one
                {"probe": False, "probe_steps": 5, "latency_repeats": 20},
            ],
            place,
        ]
    )
    assert probe_id(one, plain, identity, place) == probe_id(one, asked, identity, place) == known
    gone = run_study(plain, tmp_path / "runs", quiet())
    assert compare_study(gone.folder).forgetting is None, "what is no longer asked for is no longer shown"


def test_rows_that_are_trained_on_are_told(tiny_study, table, general, tmp_path, quiet, monkeypatch):
    with table.open(encoding="utf-8") as handle:
        lines = [line.strip().rpartition(",")[0] for line in handle][1:]
    general.write_text("\n\n".join([*TEXT.split("\n\n"), *lines]), encoding="utf-8")
    watcher = quiet()
    spec = tiny_study(backbones=TINY, methods={"lora": METHODS["lora"]}, measure=measures(general, rows=None))
    outcome = run_study(spec, tmp_path / "runs", watcher)
    train = outcome.records[0]
    assert train.status == "finished"
    about = outcome.folder.read_retention_texts().texts[0]
    assert (about.rows, about.found) == (90, 90)
    assert about.trained_exactly == 48, "60 % of 80 rows are trained on"
    assert any("not held out" in note for note in watcher.notes)
    with monkeypatch.context() as patch:
        patch.delattr(retaining, "count_overlap")
        run_study(spec, tmp_path / "runs", quiet())  # copies are counted once
    assert outcome.folder.read_retention_texts().texts == [about]
    remarks = compare_study(outcome.folder).forgetting.remarks
    assert any("48 rows stand among the training rows" in one for one in remarks)


def test_an_encoder_has_nothing_to_measure(tiny_study, general, tmp_path, quiet):
    methods = {"lora": METHODS["lora"]}
    with pytest.raises(SpecError, match="its backbones score no next token") as told:
        run_study(tiny_study(methods=methods, measure=measures(general)), tmp_path / "one", quiet())
    assert told.value.exit_code == 2
    assert "\n" not in str(told.value)
    with pytest.raises(SpecError, match="nothing is tuned"):
        run_study(tiny_study(methods={"majority": METHODS["majority"]}, measure=measures(general)), tmp_path, quiet())
    both = run_study(
        tiny_study(backbones=BERT | TINY, methods=methods, measure=measures(general), seeds=(1,)),
        tmp_path / "two",
        quiet(),
    )
    found = {one.backbone: one.retention["general"] for one in both.records if one.family == "tuner"}
    assert (found["bert"].before, found["bert"].after) == (None, None)
    assert found["bert"].reason == "not a causal language model"
    assert found["tiny"].after is not None


WRONG = [
    ({"source": {"kind": "text-file", "path": "/nowhere/at/all.txt"}}, "no file /nowhere/at/all.txt"),
    ({"max_length": 4000}, "measure.retention.general on tiny: max_length: got 4000; allowed: at most"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG)
def test_wrong_input_is_told_before_anything_trains(tiny_study, general, tmp_path, quiet, changes, told):
    watcher = quiet()
    spec = tiny_study(backbones=TINY, methods={"lora": METHODS["lora"]}, measure=measures(general, **changes))
    with pytest.raises(InputError, match=told) as raised:
        run_study(spec, tmp_path / "runs", watcher)
    assert raised.value.exit_code == 2
    assert watcher.ended == []


def test_a_measure_that_fails_fails_no_trial(tiny_study, general, tmp_path, quiet, monkeypatch):
    methods = {name: METHODS[name] for name in ("lora", "soft")}
    asked = measures(general, max_length=126)
    spec = tiny_study(backbones=TINY, methods=methods, measure=asked, seeds=(1,))

    def break_down(*_):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(retaining, "load_adapter", break_down)
        outcome = run_study(spec, tmp_path / "runs", quiet())
    figures = outcome.records[1].retention["general"]
    assert (outcome.exit_code, figures.after, figures.reason) == (0, None, "RuntimeError: out of luck")
    assert figures.before is not None
    again = run_study(spec, tmp_path / "runs", quiet())
    lora, soft = (one.retention["general"] for one in again.records[1:])
    assert lora.after is not None
    assert soft.after is None
    assert "room for 125 tokens beside the virtual rows" in soft.reason


def test_labels_of_another_task_and_the_report_of_both(tiny_study, general, tmp_path, quiet):
    asked = measures(general)
    asked["retention"]["truths"] = {
        "kind": "labels",
        "data": {"source": {"kind": "statements"}},
        "prompt": {"template": {"query": "{{ text }} =>", "example": "", "stop": []}},
        "max_length": 120,
        "rows": 12,
    }
    methods = {name: METHODS[name] for name in ("lora", "frozen")}
    outcome = run_study(tiny_study(backbones=TINY, methods=methods, measure=asked), tmp_path / "runs", quiet())
    comparison = compare_study(outcome.folder)
    rows = {(row.measure, row.candidate): row for row in comparison.forgetting.rows}
    assert len(rows) == 4
    assert (rows["truths", "lora@tiny"].rows, rows["truths", "lora@tiny"].metric) == (12, "accuracy")
    assert rows["general", "frozen@tiny"].call == "unchanged", "its trunk is as it was"
    lora = rows["general", "lora@tiny"]
    ids = next(one.retention["general"].id for one in outcome.records if one.candidate == "lora@tiny")
    before = read_rows(outcome.folder.retention(ids))
    after = [
        read_rows(outcome.folder.trial(one.id).retention(ids))
        for one in outcome.records
        if one.candidate == "lora@tiny"
    ]
    assert lora.trainings == 2
    assert lora.before == pytest.approx(before.totals.sum() / before.counts.sum())
    assert lora.after == pytest.approx(np.mean([one.totals.sum() / one.counts.sum() for one in after]))
    assert lora.low < lora.change < lora.high
    assert lora.perplexity_after == pytest.approx(np.exp(lora.after))


def test_files_of_a_study_name_the_text_beside_them(tmp_path):
    (tmp_path / "general.txt").write_text("one\n\ntwo", encoding="utf-8")
    study = {
        "name": "one",
        "data": {"source": {"kind": "files", "all": "rows.csv"}},
        "methods": {"majority": {"kind": "majority"}},
        "measure": {
            "retention": {"general": {"kind": "text-loss", "source": {"kind": "text-file", "path": "general.txt"}}}
        },
    }
    write_text(tmp_path / "study.yaml", json.dumps(study))
    read = read_study(tmp_path / "study.yaml")
    assert read.measure.retention["general"].source.path == tmp_path / "general.txt"
    assert StudySpec.model_validate(read.model_dump()) == read


def test_older_folders_have_none():
    assert MeasuredTexts.model_validate_json("{}").texts == []
