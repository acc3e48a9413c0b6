"""Rows whose gold answers are texts or numbers; those with labels are tried where answers are written."""

import csv
import json

import pytest

from whichtune.data.reading import Reading
from whichtune.errors import DataError
from whichtune.study.new_rows import Wanted, read_labelled


def read(path, label="highlights", unlabeled=("-", "-1"), **columns):
    return read_labelled(path, Wanted(label=label, **columns), Reading(), None, unlabeled, two=False)


def test_gold_texts_come_as_they_are_and_rows_without_one_are_left_out(tmp_path):
    path = tmp_path / "news.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("id", "article", "highlights"))
        writer.writerow(("a", 'One said "yes".\n\nOne did not.', " First point .\nSecond, 'point' . \n"))
        writer.writerows([("b", "no summary", " \n"), ("c", "", "no article"), ("d", "a dash is an answer", "-")])
    rows = read(path, text="article", id="id")
    assert [(one.id, one.text, one.gold) for one in rows.usable] == [
        ("a", 'One said "yes".\n\nOne did not.', "First point .\nSecond, 'point' ."),
        ("d", "a dash is an answer", "-"),
    ]
    assert rows.reasons == [None, "no-answer", "empty", None]
    assert rows.left_out == {"no-answer": 1, "empty": 1}
    assert (rows.ids, rows.examples[1]) == (["a", "b", "c", "d"], None)


def test_numbers_are_answers(tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(json.dumps({"text": "a sum", "answer": value}) for value in (5, 5.0, -1, 0.5, "12")))
    assert [one.gold for one in read(path, "answer").usable] == ["5", "5", "-1", "0.5", "12"]


def test_a_file_without_answers_is_one_message(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("text,highlights\na,\nb,\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"news\.csv has no row with text and answer; check `--text` and `--label`"):
        read(path)
    with pytest.raises(DataError, match=r"has no column `summary`; allowed: text, highlights"):
        read(path, "summary")
