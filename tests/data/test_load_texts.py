"""Data whose gold answers are texts or numbers instead of labels."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whichtune.data.load import load_data
from whichtune.data.storing import read_examples, write_examples
from whichtune.errors import DataError
from whichtune.spec.sources import DataSpec

NEWS = {"text": "article", "label": "highlights", "id": "id"}


def write_news(path, rows):
    """Write articles as CNN/DailyMail's users have them: quoted fields that hold line breaks and doubled quotes."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, quoting=csv.QUOTE_MINIMAL)
        writer.writerows([("id", "article", "highlights"), *rows])
    return path


def make_news(count, mark):
    """Make articles of several lines with highlights of two lines, the last one's answer among them."""
    return [
        (
            f"{mark}{number:040x}",
            f'(Local) -- The {mark} council said "no" to plan {number * 7919}, again.\n\nIt costs €{number}, they say.',
            f"Council refuses plan {number * 7919} .\nIt would have cost €{number} .",
        )
        for number in range(count)
    ]


def load(files, answers="texts", **fields):
    named = {"all": files} if not isinstance(files, dict) else files
    return load_data(DataSpec.model_validate({"source": {"kind": "files", **named}, **fields}), answers)


@pytest.fixture
def news(tmp_path):
    return {
        split: write_news(tmp_path / f"{split}.csv", make_news(count, split))
        for split, count in (("train", 30), ("validation", 5), ("test", 8))
    }


def test_articles_and_their_highlights_are_read_as_they_are(news):
    data = load(news, columns=NEWS)
    assert data.labels == ()
    assert data.report.balance == {}
    assert data.report.rows == {"train": 30, "validation": 5, "test": 8}
    assert data.report.notes == ()
    for split, count in (("train", 30), ("validation", 5), ("test", 8)):
        found = [(one.id, one.text, one.gold) for one in data.examples[split]]
        assert found == make_news(count, split)
    assert data.examples["train"][1].origin == "train.csv:6"


def test_a_stored_data_set_of_texts_comes_back(news, tmp_path):
    data = load(news, columns=NEWS)
    write_examples(tmp_path / "examples.parquet", data)
    back = read_examples(tmp_path / "examples.parquet")
    assert (back.examples, back.labels, back.fingerprint) == (data.examples, (), data.fingerprint)


def test_the_fingerprint_follows_each_gold_text(news, tmp_path):
    base = load(news, columns=NEWS).fingerprint
    rows = make_news(8, "test")
    rows[7] = (*rows[7][:2], rows[7][2] + " !")
    changed = news | {"test": write_news(tmp_path / "changed.csv", rows)}
    assert load(changed, columns=NEWS).fingerprint != base
    assert load(news, columns=NEWS).fingerprint == base


@pytest.mark.parametrize("stratify", [True, False])
def test_rows_are_split_by_their_ids_alone(tmp_path, stratify):
    """Golden: the draw may depend neither on `stratify` nor on the answers."""
    lines = [f"question number {n * 7919},{'yes' if n % 3 else 'no'},{n}" for n in range(40)]
    path = tmp_path / "q.csv"
    path.write_text("\n".join(["text,answer,number", *lines]), encoding="utf-8")
    split, sizes = {"stratify": stratify}, {"train": 10}
    words, numbers = (
        load(path, columns={"label": column}, split=split, sizes=sizes) for column in ("answer", "number")
    )
    assert words.report.rows == {"train": 10, "validation": 6, "test": 10}
    for name, rows in words.examples.items():
        assert [one.id for one in rows] == [one.id for one in numbers.examples[name]]
    plain = load(path, "labels", columns={"label": "answer"}, split={"stratify": False}, sizes=sizes)
    assert [one.id for one in words.examples["train"]] == [one.id for one in plain.examples["train"]]


def test_one_answer_for_all_rows_and_one_never_seen_in_training_are_answers(tmp_path):
    rows = [f"question {n * 7919},-1" for n in range(38)] + ["question a,-", "question b,something never said"]
    (tmp_path / "q.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    data = load(tmp_path / "q.csv")
    golds = sorted(one.gold for rows in data.examples.values() for one in rows)
    assert golds == ["-"] + ["-1"] * 38 + ["something never said"]
    assert (data.report.dropped, data.report.notes) == ((), ())


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_numbers_are_answers(tmp_path, suffix):
    rows = [{"text": f"What is {n} + 0?", "label": float(n)} for n in range(40)]
    path = tmp_path / f"q.{suffix}"
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    data = load(path)
    assert all(one.text == f"What is {one.gold} + 0?" for rows in data.examples.values() for one in rows)


def test_rows_without_an_answer_are_left_out_and_counted(news, tmp_path):
    rows = make_news(40, "train")
    rows[3], rows[4] = (*rows[3][:2], " \n "), (rows[4][0], "", "")
    data = load(news | {"train": write_news(tmp_path / "holes.csv", rows)}, columns=NEWS)
    assert {(one.reason, one.split, one.count, one.origins) for one in data.report.dropped} == {
        ("no-answer", "train", 1, ("holes.csv:14",)),
        ("empty", "train", 1, ("holes.csv:18",)),
    }
    assert data.report.rows["train"] == 38


def test_a_column_of_empty_answers_is_one_message(news, tmp_path):
    empty = write_news(tmp_path / "empty.csv", [(*row[:2], "") for row in make_news(12, "train")])
    with pytest.raises(DataError) as caught:
        load(news | {"train": empty}, columns=NEWS)
    assert str(caught.value) == (
        "100.0% of the 12 rows of empty.csv cannot be used: 12 no-answer (empty.csv:2, empty.csv:5, empty.csv:8, "
        "empty.csv:11, empty.csv:14, ...); allowed: at most 5.0% (`data.drop_limit`); `data.columns.label` names the "
        "column `highlights`, which is empty in every row: name the column of the answers, fill it, or raise "
        "the limit"
    )
    with pytest.raises(DataError, match=r"empty\.csv has no usable rows; check `data\.columns`"):
        load(news | {"train": empty}, columns=NEWS, drop_limit=1.0)


def test_labels_are_refused_where_answers_are_texts(news):
    with pytest.raises(DataError, match=r"`data\.labels` is given, but this task has no labels.*`highlights`.*leave"):
        load(news, columns=NEWS, labels=["yes", "no"])


def test_copies_of_texts_are_counted_by_the_text_alone(news, tmp_path):
    rows = [(f"copy{place}", row[1], f"another summary {place}") for place, row in enumerate(make_news(3, "train"))]
    test = write_news(tmp_path / "copies.csv", [*make_news(8, "test"), *rows])
    kept = load(news | {"test": test}, columns=NEWS, near_duplicate_similarity=1.0)
    assert {pair.splits: pair.exact for pair in kept.report.duplicates}["train", "test"] == 3
    assert kept.report.notes == ()
    dropped = load(news | {"test": test}, columns=NEWS, duplicates="drop-across", near_duplicate_similarity=1.0)
    assert dropped.report.rows == {"train": 27, "validation": 5, "test": 11}


def test_the_files_field_size_does_not_limit_an_article(tmp_path):
    rows = [(f"{n}", f"article {n}. " + "word " * 60_000, "a summary " * 2_000) for n in range(10)]
    path = write_news(tmp_path / "long.csv", rows)
    data = load(path, columns=NEWS)
    assert {len(one.gold) for rows in data.examples.values() for one in rows} == {len("a summary " * 2_000) - 1}
