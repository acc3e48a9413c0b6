"""Studies whose answers are written in words, from a file to records."""

import csv
import json
import random

import numpy as np
import pytest

from whichtune.records.predictions import read_predictions
from whichtune.spec.study import StudySpec
from whichtune.study.run import run_study

SHORT = {"template": {"query": "{{ text }} =>", "example": "{{ text }} => {{ answer }}", "stop": []}}
IN_WORDS = {"prompt": SHORT, "decoding": {"max_new_tokens": 4}}
RATE = {"learning_rate": 1e-2}


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    """Three CSV files of sixty short rows: articles with summaries, problems with results, texts with labels."""
    folder, draw = tmp_path_factory.mktemp("sheets"), random.Random(3)
    columns = {
        "summaries": (
            "text",
            "summary",
            lambda a, b: (f"{a} met {b}. They left {draw.randint(1, 99)}.", f"{a} met {b}"),
        ),
        "problems": ("text", "answer", lambda a, b: (f"{a} and {b} {draw.randint(1, 999)}", draw.choice("1123"))),
        "labels": ("text", "label", lambda a, b: (f"{a} {b} {draw.randint(1, 999)}", "yes" if a < b else "no")),
    }
    paths = {}
    for name, (text, gold, make) in columns.items():
        paths[name] = folder / f"{name}.csv"
        with paths[name].open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow([text, gold])
            for _ in range(60):
                writer.writerow(make(*draw.sample(["Ann", "Bo", "Cy", "Di", "Eve"], 2)))
    return paths


@pytest.fixture
def study_of(sheets, tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))

    def make(sheet, gold, task, methods, **changes):
        spec = {
            "name": sheet,
            "task": (IN_WORDS if task["kind"] != "text-classification" else {}) | task,
            "data": {"source": {"kind": "files", "all": str(sheets[sheet])}, "columns": {gold[0]: gold[1]}},
            "backbones": {"tiny": {"kind": "random", "family": "gpt", "config": {"initializer_range": 0.2}}},
            "methods": methods,
            "training": {"epochs": 1, "batch_size": 16, "max_length": 60},
            "seeds": (1,),
            "execution": {"threads": 1, "device": "cpu", "check": False},
            "measure": {"probe": False},
        }
        return StudySpec.model_validate(spec | changes)

    return make


LADDER = {
    "lead": {"kind": "lead"},
    "asked": {"kind": "prompting"},
    "lora": {"kind": "lora", **RATE},
    "soft": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 0.1},
    "last": {"kind": "last-layers", **RATE},
    "full": {"kind": "full", **RATE},
}


def columns_of(study, record):
    tables = read_predictions(study.folder.trial(record.id).predictions)
    return {split: (one.ids, one.raw, one.parsed, one.loss.tolist(), one.prompt_hash) for split, one in tables.items()}


def test_the_ladder_of_summaries_runs_proves_itself_resumes_and_repeats(study_of, tmp_path, quiet):
    task, gold = {"kind": "summarization"}, ("label", "summary")
    execution = {"threads": 1, "device": "cpu", "check": True}
    first = quiet()
    spec = study_of("summaries", gold, task, LADDER, execution=execution)
    one = run_study(spec, tmp_path / "one", first)
    names = ["lead", "asked@tiny", "lora@tiny", "soft@tiny", "last@tiny", "full@tiny"]
    assert [(name, status) for name, _, status, _ in first.ended] == [(name, "finished") for name in names]
    assert one.exit_code == 0
    for record in one.records:
        tables = read_predictions(one.folder.trial(record.id).predictions)
        assert set(tables) == {"validation", "test"}
        for table in tables.values():
            assert None not in table.raw, "what was written is kept"
            assert table.labels == ()
        metrics = {value.name: value.value for value in record.scores["test"].metrics}
        assert next(iter(metrics)) == "rougeL"
        assert 0 <= metrics["rougeLsum"] <= 1
        tuned = record.family == "tuner"
        assert record.checked is (True if tuned else None)
        assert (metrics["loss"] is None) == (record.family == "baseline"), "a baseline has no loss: not known, never 0"
        assert (set(table.prompt_hash) == {None}) == (record.family == "baseline")
        if tuned:
            path = one.folder.trial(record.id).curve
            seen = [json.loads(line) for line in path.read_text().splitlines()]
            assert {name for line in seen for name in line.get("validation", ())} == {"loss"}
    lead = one.records[0]
    assert {value.name: value.value for value in lead.scores["test"].metrics}["rouge1"] > 0.5
    second = quiet()
    run_study(spec, tmp_path / "one", second)
    assert (second.steps, [found for *_, found in second.ended]) == (0, [True] * 6)
    some = {name: LADDER[name] for name in ("asked", "lora", "full")}
    two = run_study(study_of("summaries", gold, task, some), tmp_path / "two", quiet())
    known = {record.id: record for record in one.records}
    for right in two.records:
        left = known[right.id]
        ours, theirs = columns_of(one, left), columns_of(two, right)
        assert ours.keys() == theirs.keys()
        for split, columns in ours.items():
            for mine, other in zip(columns, theirs[split], strict=True):
                assert np.array_equal(mine, other, equal_nan=True) if isinstance(mine[0], float) else mine == other


def test_labels_by_instruction_with_prompters_of_all_kinds(study_of, tmp_path, quiet):
    methods = {
        "zero": {"kind": "prompting"},
        "few": {"kind": "prompting", "shots": {"count": 2}},
        "own": {"kind": "prompting", "shots": {"count": 2, "choice": "per-item"}, "scoring": "likelihood"},
        "near": {
            "kind": "prompting", "shots": {"count": 1, "choice": "nearest"},
            "encoder": {"kind": "random", "family": "bert"},
        },
        "lora": {"kind": "lora", **RATE},
    }  # fmt: skip
    watcher = quiet()
    spec = study_of("labels", ("label", "label"), {"kind": "instruction-classification"}, methods, seeds=(1, 2))
    outcome = run_study(spec, tmp_path / "runs", watcher)
    assert [(name, seed) for name, seed, status, _ in watcher.ended if status == "finished"] == [
        ("majority", 1), ("zero@tiny", 1), ("few@tiny", 1), ("few@tiny", 2), ("own@tiny", 1), ("own@tiny", 2),
        ("near@tiny", 1), ("lora@tiny", 1), ("lora@tiny", 2),
    ]  # fmt: skip
    by_name = {(record.candidate, record.seed): record for record in outcome.records}
    hashes = {
        name: read_predictions(outcome.folder.trial(record.id).predictions)["test"].prompt_hash
        for name, record in by_name.items()
    }
    assert all(a != b for a, b in zip(hashes["few@tiny", 1], hashes["few@tiny", 2], strict=True))
    assert hashes["zero@tiny", 1] == hashes["lora@tiny", 1] == hashes["lora@tiny", 2]
    own = read_predictions(outcome.folder.trial(by_name["own@tiny", 1].id).predictions)["test"]
    assert None not in own.parsed
    asked = by_name["zero@tiny", 1]
    assert asked.parameters.trainable == 0
    assert asked.parameters.trunk > 0
    assert asked.scores["test"].unparsed_share == 1, "random bytes are no label"
    assert asked.scores["test"].metrics[0].value == 0
    assert set(asked.phases) >= {"encode", "validate", "predict"}


def test_a_task_with_a_head_can_be_asked_beside_its_tuners(study_of, tmp_path, quiet):
    methods = {
        "asked": {"kind": "prompting", **SHORT, "decoding": {"max_new_tokens": 4}},
        "lora": {"kind": "lora", **RATE},
    }
    watcher = quiet()
    run_study(
        study_of("labels", ("label", "label"), {"kind": "text-classification"}, methods), tmp_path / "runs", watcher
    )
    assert [status for *_, status, _ in watcher.ended] == ["finished"] * 3


def test_the_most_frequent_answer_is_the_bar_of_questions(study_of, tmp_path, quiet):
    spec = study_of(
        "problems", ("label", "answer"), {"kind": "question-answering-by-prompt"}, {"asked": {"kind": "prompting"}}
    )
    outcome = run_study(spec, tmp_path / "runs", quiet())
    assert [record.candidate for record in outcome.records] == ["majority", "asked@tiny"]
    table = read_predictions(outcome.folder.trial(outcome.records[0].id).predictions)["test"]
    assert set(table.parsed) == {"1"}
    matched = outcome.records[0].scores["test"].metrics[0]
    assert (matched.name, matched.value) == ("exact_match", table.gold.count("1") / len(table.gold))


def test_a_backbone_that_scores_no_tokens_is_a_row_and_the_rest_goes_on(study_of, tmp_path, quiet):
    backbones = {
        "bert": {"kind": "random", "family": "bert"},
        "tiny": {"kind": "random", "family": "gpt", "config": {"initializer_range": 0.2}},
    }
    methods = {"asked": {"kind": "prompting"}, "lora": {"kind": "lora", **RATE}, "frozen": {"kind": "frozen-features"}}
    watcher = quiet()
    task = {"kind": "instruction-classification"}
    outcome = run_study(
        study_of("labels", ("label", "label"), task, methods, backbones=backbones), tmp_path / "runs", watcher
    )
    assert {name: status for name, _, status, _ in watcher.ended} == {
        "majority": "finished", "asked@bert": "unsupported", "lora@bert": "unsupported", "frozen@bert": "unsupported",
        "asked@tiny": "finished", "lora@tiny": "finished", "frozen@tiny": "unsupported",
    }  # fmt: skip
    told = {record.candidate: record.failure.message for record in outcome.records if record.failure}
    for name in ("asked@bert", "lora@bert"):
        assert "the family 'bert' scores no next token here" in told[name]
    assert "nothing is left" in told["frozen@tiny"]


def test_best_weights_and_stopping_go_by_the_loss(study_of, tmp_path, quiet):
    training = {
        "epochs": 6, "batch_size": 16, "max_length": 60, "keep": "best", "validate_every": 2,
        "stopping": {"patience": 1, "min_gain": 50.0},
    }  # fmt: skip
    spec = study_of(
        "summaries",
        ("label", "summary"),
        {"kind": "summarization"},
        {"lora": {"kind": "lora", **RATE}},
        training=training,
    )
    outcome = run_study(spec, tmp_path / "runs", quiet())
    record = outcome.records[-1]
    lines = [json.loads(line) for line in outcome.folder.trial(record.id).curve.read_text().splitlines()]
    scored = {line["step"]: line["validation_score"] for line in lines if "validation_score" in line}
    assert scored == {line["step"]: -line["validation"]["loss"] for line in lines if "validation" in line}
    assert list(scored) == [2, 4], "no gain of 50 nats: it stops after one more validation"
    assert record.kept_step in scored
    kept = {value.name: value.value for value in record.scores["validation"].metrics}["loss"]
    assert kept == pytest.approx(-scored[record.kept_step], rel=1e-5)


def test_cuts_are_counted_in_the_record(study_of, tmp_path, quiet):
    training = {"epochs": 1, "batch_size": 16, "max_length": 24}
    methods = {"lora": {"kind": "lora", **RATE}, "asked": {"kind": "prompting"}}
    spec = study_of("summaries", ("label", "summary"), {"kind": "summarization"}, methods, training=training)
    outcome = run_study(spec, tmp_path / "runs", quiet())
    lead, tuned, asked = outcome.records
    assert tuned.candidate == "lora@tiny"
    assert all(count > 0 for count in tuned.cuts.values())
    assert set(tuned.cuts) == {"train", "validation", "test"}
    assert all("summaries.csv" in origin for origins in tuned.cut_origins.values() for origin in origins)
    assert asked.cuts == {"validation": 0, "test": 0}, "a prompter has all of the context"
    assert lead.cuts in ({}, None)
