"""A finished trial on new rows: the same answers as in its study, whatever the rows come in."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from whichtune.data.storing import read_examples
from whichtune.engine.tolerances import TOLERANCES
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions

PLAIN = ("--threads", "1", "--device", "cpu")
LABELS = {"+good", "-bad"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trial(trained):
    return next(one for one in StudyFolder(trained).read_trials() if not one.baseline)


@pytest.fixture(scope="session")
def stored(trained, trial):
    """What the trial predicted for its test rows."""
    return read_predictions(StudyFolder(trained).trial(trial.id).predictions, "test")["test"]


@pytest.fixture
def exported(trained, place):
    """The test rows of the trial's study, in a CSV of their own and in another order."""
    rows = list(read_examples(trained / "examples.parquet").examples["test"])[::-1]
    with (place / "test.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["key", "review", "verdict"])
        writer.writerows((one.id, one.text, one.gold) for one in rows)
    return place / "test.csv"


def test_the_trial_has_learned(stored):
    assert len(set(stored.parsed)) == 2, "or the tests below compare constants"


@pytest.mark.parametrize("batch", [None, 1, 7])
def test_predictions_are_those_of_the_study(whichtune, trained, trial, stored, exported, batch):
    own = [] if batch is None else ["--batch", batch]
    ended = whichtune(
        "predict", trial.id[:8], "--runs", trained.parent, "--data", exported, "--out", "out.jsonl", *PLAIN, *own
    )
    assert ended.code == 0, ended.err
    found = {line["id"]: line for line in map(json.loads, Path("out.jsonl").read_text().splitlines())}
    assert len(found) == len(stored.ids)
    assert [found[name]["prediction"] for name in stored.ids] == stored.parsed
    shares = np.array([[found[name][f"probability_{label}"] for label in stored.labels] for name in stored.ids])
    logits, known = np.log(shares), np.log(stored.probabilities)
    assert np.abs(logits - known).max() <= TOLERANCES["float32"] * known.std()


def test_evaluation_gives_the_studys_scores(whichtune, trained, trial, stored, exported):
    ended = whichtune("evaluate", trained, "--data", exported, "--out", "kept.parquet", "--json", *PLAIN)
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    recorded = {one.name: one.value for one in trial.scores["test"].metrics}
    for metric in told["metrics"]:
        assert metric["value"] == pytest.approx(recorded[metric["name"]], rel=1e-4)
        assert metric["name"] == "calibration_error" or metric["low"] <= metric["value"] <= metric["high"]
    assert told["rows"] == len(stored.ids)
    kept = pq.read_table("kept.parquet").to_pydict()
    right = [gold == own for gold, own in zip(kept["gold"], kept["prediction"], strict=True)]
    assert np.mean(right) == pytest.approx(recorded["accuracy"])
    shown = whichtune("evaluate", trained, "--data", exported, *PLAIN)
    assert "95 % interval" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


def test_rows_that_cannot_be_predicted_keep_their_place(whichtune, trained, place):
    (place / "new.csv").write_text("key,review\n+a,fine fine\nb,\nc,=1+1\n")
    ended = whichtune("predict", trained, "new.csv", "--out", "out.csv", *PLAIN)
    assert ended.code == 0, ended.err
    assert "3 rows; 1 empty: no prediction" in ended.err
    rows = read_cells("out.csv")
    assert [row["id"] for row in rows] == ["+a", "b", "c"]
    assert [row["prediction"] in LABELS for row in rows] == [True, False, True]
    assert rows[2]["text"] == "=1+1"
    (place / "none.csv").write_text('key,review\nb,""\n')
    assert json.loads(whichtune("predict", trained, "none.csv").out)["prediction"] is None


def read_cells(path):
    with Path(path).open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_predictions_can_be_fed_back(whichtune, trained, exported, suffix):
    kept = f"kept.{suffix}"
    assert whichtune("predict", trained, exported, "--out", kept, *PLAIN).code == 0
    flags = ["--text", "text", "--label", "prediction", "--id", "id", "--json"]
    ended = whichtune("evaluate", trained, "--data", kept, *flags, *PLAIN)
    assert ended.code == 0, ended.err
    scores = {one["name"]: one["value"] for one in json.loads(ended.out)["metrics"]}
    assert scores["accuracy"] == 1.0


def test_a_file_for_a_spreadsheet(whichtune, trained, place):
    (place / "new.csv").write_text("key,review\na,=1+1\n")
    assert whichtune("predict", trained, "new.csv", "--out", "out.csv", "--spreadsheet", *PLAIN).code == 0
    (row,) = read_cells("out.csv")
    assert row["text"] == "'=1+1"
    assert row["prediction"] in {f"'{label}" for label in LABELS}


def test_predicting_reads_no_label(whichtune, trained, place):
    (place / "new.csv").write_text("verdict\nfine great\n")
    ended = whichtune("predict", trained, "new.csv", "--text", "verdict", *PLAIN)
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["id"], told["text"]) == ("2", "fine great"), "the id's column of the training is not there"


def test_standard_input_line_by_line(whichtune, trained):
    ended = whichtune("predict", trained, "-", *PLAIN, stdin="fine great\n\nawful grïm\n".encode())
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["prediction"] is None for line in lines] == [False, True, False]
    assert sum(lines[0]["probabilities"].values()) == pytest.approx(1)
    labels = whichtune("predict", trained, "-", "--label-only", *PLAIN, stdin=b"fine great\n\n").out.split("\n")
    assert labels == [lines[0]["prediction"], "", ""]


def test_each_line_is_answered_at_once(trained):
    command = [sys.executable, "-m", "whichtune", "predict", str(trained), "-", "--label-only", *PLAIN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        for text in ("fine great", "awful"):
            running.stdin.write(f"{text}\n")
            running.stdin.flush()
            assert running.stdout.readline().strip() in LABELS, "before the next line is written"
        running.stdin.close()
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("key,txet\na,fine\n", ["predict"], ["no column `review`", "key, txet", "--text"]),
        ("key,review,verdict\na,fine,+godo\n", ["evaluate"], ["new.csv:2", "+godo", "+good, -bad", "'+good'"]),
        ("key,review\na,fine\n", ["evaluate"], ["no column `verdict`", "--label"]),
        ("key,review\na,fine\n", ["predict", "--out", "out.xlsx"], [".xlsx", ".parquet"]),
        ("key,review\na,fine\n", ["predict", "--text", "key", "--format", "cvs"], ["--format", "'csv'"]),
        ("key,review\na,fine\n", ["evaluate", "--label", "review"], ["same column"]),
        ("key,review\na,fine\n", ["predict", "--device", "tpu"], ["tpu", "cpu"]),
        ("key,review\na,fine\n", ["predict", "--id", "kee"], ["no column `kee`", "key, review", "'key'", "--id"]),
        ("key,review,verdict\na,fine,+good\n", ["evaluate", "--id", "nr"], ["no column `nr`", "--id"]),
        ("key,review\na,fine\n", ["predict", "--pair", "key"], ["--pair", "one text a row", "leave it out"]),
    ],
)
def test_wrong_input_is_one_message(whichtune, trained, place, text, flags, words):
    (place / "new.csv").write_text(text)
    ended = whichtune(flags[0], trained, "--data", "new.csv", *flags[1:])
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.told


def test_what_is_no_model(whichtune, trained, place):
    baseline = next(one for one in StudyFolder(trained).read_trials() if one.baseline)
    (place / "new.csv").write_text("key,review\na,fine\n")
    ended = whichtune("predict", trained / "trials" / baseline.id, "new.csv")
    assert (ended.code, "has no model" in ended.told) == (2, True)
    assert whichtune("predict", "abcdef", "new.csv").code == 2
    assert whichtune("predict", trained).code == 2
    assert "twice" in whichtune("predict", trained, "-", "--data", "new.csv").told
    assert "redirect" in whichtune("predict", trained, "-", "--out", "out.csv").told
    assert "--id: standard input" in whichtune("predict", trained, "-", "--id", "key").told


@pytest.fixture(params=["lora", "prompting"])
def writer(request, writers):
    """A trial that answers in words, with its test rows in a CSV."""
    study = StudyFolder(writers[request.param])
    return study, next(one for one in study.read_trials() if not one.baseline)


def write_test_rows(study, path):
    rows = read_examples(study.examples).examples["test"]
    with path.open("w", newline="", encoding="utf-8") as handle:
        cells = csv.writer(handle)
        cells.writerow(["key", "review", "verdict"])
        cells.writerows((one.id, one.text, one.gold) for one in rows)


def test_answers_in_words_are_those_of_the_study(whichtune, writer, place):
    study, own = writer
    write_test_rows(study, place / "test.csv")
    stored = read_predictions(study.trial(own.id).predictions, "test")["test"]
    ended = whichtune("evaluate", study.path, "--data", "test.csv", "--out", "kept.jsonl", "--json", *PLAIN)
    assert ended.code == 0, ended.err
    found = {line["id"]: line for line in map(json.loads, Path("kept.jsonl").read_text().splitlines())}
    assert [found[name]["completion"] for name in stored.ids] == stored.raw
    assert [found[name]["prediction"] for name in stored.ids] == stored.parsed
    shares = np.array([[found[name][f"probability_{label}"] for label in stored.labels] for name in stored.ids])
    assert np.allclose(shares, stored.probabilities, atol=1e-4)
    told, recorded = json.loads(ended.out), {one.name: one.value for one in own.scores["test"].metrics}
    assert {one["name"]: one["value"] for one in told["metrics"]} == pytest.approx(recorded, rel=1e-3)
    ended = whichtune("predict", study.path, "test.csv", "--out", "kept.csv", "--batch", 5, *PLAIN)
    assert ended.code == 0, ended.err
    assert {row["id"]: row["completion"] for row in read_cells("kept.csv")} == dict(
        zip(stored.ids, stored.raw, strict=True)
    )
    (line,) = whichtune("predict", study.path, "-", *PLAIN, stdin=b"fine great\n").out.splitlines()
    assert {"prediction", "completion", "confidence", "probabilities"} == set(json.loads(line))


def test_a_prompter_whose_study_changed_is_refused(whichtune, writers, place):
    shutil.copytree(writers["prompting"], place / "moved")
    (place / "moved" / "examples.parquet").unlink()
    (place / "new.csv").write_text("key,review\na,fine\n")
    ended = whichtune("predict", place / "moved", "new.csv")
    assert (ended.code, "its study is not there" in ended.told, "whichtune prompt" in ended.told) == (2, True, True)


def test_answers_that_are_texts(whichtune, gpt_folder, place):
    (place / "sums.csv").write_text("text,answer\n" + "".join(f"What is {n} and {n}?,{2 * n}\n" for n in range(30)))
    task = ("--task", "question-answering-by-prompt", "--method", "lora", "--init-from", gpt_folder)
    size = ("--max-length", 200, "--max-iters", 2, "--batch-size", 2, "--max-new-tokens", 6, "--sizes-test", 4)
    off = ("--no-check", "--no-probe", *PLAIN)
    made = whichtune("train", "--data", "sums.csv", *task, *size, *off, "--out-dir", "runs/sums")
    assert made.code == 0, made.err
    assert "columns of sums.csv: text `text`, label `answer`" in made.err
    (place / "new.csv").write_text("text,answer\nWhat is 2 and 2?,4.0\nWhat is 3 and 3?,\n")
    ended = whichtune("evaluate", "runs/sums", "--data", "new.csv", "--out", "kept.csv", *PLAIN)
    assert ended.code == 0, ended.err
    assert "exact match" in ended.out
    assert "Classes" not in ended.out
    rows = read_cells("kept.csv")
    assert list(rows[0]) == ["id", "text", "gold", "prediction", "completion", "loss", "reason"]
    assert (rows[0]["reason"], rows[1]["reason"], rows[1]["completion"]) == ("", "no-answer", "")
    told = whichtune("predict", "runs/sums", "-", *PLAIN, stdin=b"What is 2 and 2?\n").out
    assert set(json.loads(told)) == {"prediction", "completion"}
