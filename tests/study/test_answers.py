"""Rows in, answers out: each row keeps its place, its id and its text, in every format."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from whichtune.data.reading import Reading
from whichtune.errors import DataError
from whichtune.records.predictions import Predictions
from whichtune.study.answers import lay_out_answers, require_exact, require_writable, write_answers
from whichtune.study.new_rows import Wanted, read_labelled, read_rows

TEXTS = ["fine", "", "=1+1", 'a "quoted", text\nof two lines', "　"]
LABELS = ("bad", "good")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["key", "text", "label"])
        writer.writerows((f"k{place}", text, "good") for place, text in enumerate(TEXTS))
    return read_rows(path, Wanted(id="key"), Reading(), two=False)


@pytest.fixture
def answers():
    return Predictions(
        split="new",
        ids=["k0", "k2", "k3"],
        gold=[None] * 3,
        parsed=["good", "bad", "good"],
        confidence=np.array([0.75, 0.5, 1.0], np.float32),
        loss=np.full(3, np.nan, np.float32),
        probabilities=np.array([[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]], np.float32),
        labels=LABELS,
    )


def test_rows_that_cannot_be_answered_keep_their_place(rows, answers):
    assert rows.left_out == {"empty": 2}
    assert [one.text for one in rows.usable] == ["fine", "=1+1", TEXTS[3]]
    columns = lay_out_answers(rows, answers)
    assert columns["id"] == ["k0", "k1", "k2", "k3", "k4"]
    assert columns["prediction"] == ["good", None, "bad", "good", None]
    assert columns["probability_good"] == [0.75, None, 0.5, 1.0, None]
    assert columns["reason"] == [None, "empty", None, None, "empty"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_holds_the_same(rows, answers, suffix, tmp_path):
    path = tmp_path / f"out.{suffix}"
    columns = lay_out_answers(rows, answers)
    write_answers(path, columns)
    if suffix == "parquet":
        assert pq.read_table(path).to_pydict() == columns
    elif suffix == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines == [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        with path.open(newline="", encoding="utf-8") as handle:
            found = list(csv.DictReader(handle, delimiter={"csv": ",", "tsv": "\t"}[suffix], quoting=csv.QUOTE_MINIMAL))
        assert [one["id"] for one in found] == columns["id"]
        assert [one["prediction"] for one in found] == ["good", "", "bad", "good", ""]
        assert found[2]["text"] == "=1+1"


SIGNED = ("+pos", "-neg")


def read_cells(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle, delimiter={".csv": ",", ".tsv": "\t"}[path.suffix]))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_what_was_written_reads_back_as_it_was(suffix, tmp_path):
    texts = ["@user hello", "=1+1", "\N{HEAVY PLUS SIGN}", *(["a\rb", 'a\n"b"'] if suffix != "tsv" else [])]
    ids = [f"-{place}" for place in range(len(texts))]
    golds = [SIGNED[place % 2] for place in range(len(texts))]
    (tmp_path / "first.jsonl").write_text(
        "".join(json.dumps({"id": a, "text": b, "label": c}) + "\n" for a, b, c in zip(ids, texts, golds, strict=True))
    )
    first = Wanted(label="label", id="id")
    rows = read_labelled(tmp_path / "first.jsonl", first, Reading(), SIGNED, (), two=False)
    answers = Predictions(
        split="new",
        ids=ids,
        gold=golds,
        parsed=golds[::-1],
        confidence=np.ones(len(texts), np.float32),
        loss=np.zeros(len(texts), np.float32),
        probabilities=None,
        labels=SIGNED,
    )
    path = tmp_path / f"out.{suffix}"
    write_answers(path, lay_out_answers(rows, answers, gold=True))
    for column, expected in (("gold", golds), ("prediction", golds[::-1])):
        again = read_labelled(path, Wanted(label=column, id="id", must_have_id=True), Reading(), SIGNED, (), two=False)
        assert (again.ids, again.texts) == (ids, texts)
        assert [one.gold for one in again.usable] == expected


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_no_cell_runs_in_a_spreadsheet_where_that_is_asked_for(rows, answers, suffix, tmp_path):
    path = tmp_path / f"out.{suffix}"
    columns = lay_out_answers(rows, answers) | {"prediction": ["+pos", None, "-1", "-neg", "@x"]}
    write_answers(path, columns, spreadsheet=True)
    found = read_cells(path)
    assert found[2]["text"] == "'=1+1"
    assert [one["prediction"] for one in found] == ["'+pos", "", "-1", "'-neg", "'@x"]
    assert [one["confidence"] for one in found] == ["0.75", "", "0.5", "1.0", ""]


def test_a_tsv_that_cannot_give_labels_back_is_told_before(tmp_path):
    with pytest.raises(DataError, match=r"tab or line break: got 'a\\tb'; write .csv"):
        require_exact(tmp_path / "out.tsv", ["good", "a\tb"])
    require_exact(tmp_path / "out.csv", ["good", "a\tb"])
    require_exact(tmp_path / "out.tsv", ["good", "bad"])


@pytest.mark.parametrize("name", ["out.xlsx", "out", "nowhere/out.csv"])
def test_an_output_that_cannot_be_written_is_told_before(name, tmp_path):
    with pytest.raises(DataError, match="--out"):
        require_writable(tmp_path / name, "rows.csv")


def read(tmp_path, text, labels=LABELS, two=False, **columns):
    path = tmp_path / "gold.csv"
    path.write_text(text, encoding="utf-8")
    return read_labelled(path, Wanted(**{"label": "label"} | columns), Reading(), labels, {"-"}, two=two)


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    rows = read(tmp_path, "text,label\na,good\nb,\nc,-\n,bad\nd,bad\n")
    assert [(one.id, one.gold) for one in rows.usable] == [("2", "good"), ("6", "bad")]
    assert rows.left_out == {"unlabeled": 2, "empty": 1}


def test_a_label_of_the_trial_is_one_whatever_else_the_word_means(tmp_path):
    rows = read(tmp_path, "text,label\na,+\nb,-\nc,\n", labels=("+", "-"))
    assert [one.gold for one in rows.usable] == ["+", "-"]
    assert rows.left_out == {"unlabeled": 1}


def test_an_id_of_the_training_may_be_missing_and_one_that_is_named_may_not(tmp_path):
    text = "text,label,nr\na,good,x\n"
    assert read(tmp_path, text, id="key").ids == ["2"]
    assert read(tmp_path, text, id="nr", must_have_id=True).ids == ["x"]
    with pytest.raises(DataError, match="no column `key`; allowed: text, label, nr; name it with `--id`"):
        read(tmp_path, text, id="key", must_have_id=True)


def test_pairs(tmp_path):
    rows = read(tmp_path, "text,second,label\na,b,good\nc,,bad\n", two=True, pair="second")
    assert [(one.text, one.pair) for one in rows.usable] == [("a", "b")]
    assert rows.left_out == {"empty": 1}


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("text,label\na,good\nb,godo\nc,ugly\n", {}, r"gold.csv:3: label \(2 rows .*'godo'.*bad, good.*'good'"),
        ("txet,label\na,good\n", {}, "no column `text`; allowed: txet, label; did you mean 'txet'"),
        ("text,gold\na,good\n", {}, "no column `label`.*--label"),
        ("text,label\n,good\nb,\n", {}, "no row with text and label"),
    ],
)
def test_a_wrong_file_is_one_message(tmp_path, text, columns, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path, text, **columns)


def test_a_pair_needs_its_column(tmp_path):
    with pytest.raises(DataError, match="second text; allowed: text, label; name it with `--pair`"):
        read(tmp_path, "text,label\na,good\n", two=True)


def test_the_rows_themselves_are_not_written_over(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nfine\n")
    with pytest.raises(DataError, match="would be lost"):
        require_writable(tmp_path / "." / "rows.csv", rows)
    require_writable(tmp_path / "answers.csv", rows)
