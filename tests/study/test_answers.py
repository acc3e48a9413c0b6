"""Rows in, answers out: each row keeps its place, its id and its text, in every format."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from whichtune.data.reading import Reading
from whichtune.errors import DataError
from whichtune.records.predictions import Predictions
from whichtune.spec.sources import Columns
from whichtune.study.answers import guard_cell, lay_out_answers, require_writable, write_answers
from whichtune.study.new_rows import read_labelled, read_rows

TEXTS = ["fine", "", "=1+1", 'a "quoted", text\nof two lines', "　"]
LABELS = ("bad", "good")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["key", "text", "label"])
        writer.writerows((f"k{place}", text, "good") for place, text in enumerate(TEXTS))
    return read_rows(path, Columns(id="key"), Reading(), two=False)


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
        assert found[2]["text"] == "'=1+1"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_no_cell_runs_in_a_spreadsheet(text):
    assert guard_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-5", "+1e-3", "plain", "", None, 3, -0.5])
def test_other_cells_stay_as_they_are(value):
    assert guard_cell(value) == value


@pytest.mark.parametrize("name", ["out.xlsx", "out", "nowhere/out.csv"])
def test_an_output_that_cannot_be_written_is_told_before(name, tmp_path):
    with pytest.raises(DataError, match="--out"):
        require_writable(tmp_path / name)


def read(tmp_path, text, labels=LABELS, two=False, **columns):
    path = tmp_path / "gold.csv"
    path.write_text(text, encoding="utf-8")
    return read_labelled(path, Columns(**columns), Reading(), labels, frozenset({"-"}), two=two)


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    rows = read(tmp_path, "text,label\na,good\nb,\nc,-\n,bad\nd,bad\n")
    assert [(one.id, one.gold) for one in rows.usable] == [("2", "good"), ("6", "bad")]
    assert rows.left_out == {"unlabeled": 2, "empty": 1}


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
