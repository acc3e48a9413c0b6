import csv

import pytest

from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.data.general_text import count_overlap, read_general_text
from whichtune.errors import DataError
from whichtune.spec.retention import TextLossSpec


def spec_of(source, **changes):
    return TextLossSpec.model_validate({"kind": "text-loss", "source": source} | changes)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "general.txt"

    def write(content, **changes):
        path.write_bytes(content.encode("utf-8"))
        return read_general_text("general", spec_of({"kind": "text-file", "path": str(path)}, **changes))

    return write


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_paragraphs_of_a_text_file_with_the_lines_on_which_they_begin(text, end):
    read = text(end.join(["", "One.", "Goes on.", " ", "", "Two.", "", "", "  Three.", ""]))
    assert [one.text for one in read.examples] == ["One.\nGoes on.", "Two.", "Three."]
    assert [one.origin for one in read.examples] == ["general.txt:2", "general.txt:6", "general.txt:9"]
    assert (read.found, read.empty) == (3, 0)


@pytest.mark.parametrize(("content", "count"), [("", 0), (" \n\n \n", 0), ("one paragraph\nin two lines", 1)])
def test_a_file_with_too_little_text_is_refused(text, content, count):
    with pytest.raises(DataError, match=rf"measure.retention.general: general.txt has {count} rows with text"):
        text(content)


def test_a_smaller_draw_is_part_of_a_larger_one_and_no_draw_hangs_on_order(text):
    content = [f"Paragraph {place}." for place in range(40)]
    ids = {size: {one.id for one in text("\n\n".join(content), rows=size).examples} for size in (5, 20)}
    assert len(ids[5]) == 5
    assert ids[5] < ids[20]
    assert {one.id for one in text("\n\n".join(content), rows=5, seed=1).examples} != ids[5]
    whole = text("\n\n".join(content), rows=None)
    assert len(whole.examples) == 40
    assert whole.fingerprint != text("\n\n".join(content), rows=5).fingerprint


def test_a_column_of_the_users_own_file_without_its_empty_rows(tmp_path):
    path = tmp_path / "notes.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["body", "label"], ["a text", "x"], ["", "y"], ["another", ""], [" ", "z"]])
    source = {"kind": "files", "all": str(path)}
    read = read_general_text("general", spec_of(source, column="body"))
    assert [(one.text, one.gold, one.origin) for one in read.examples] == [
        ("a text", None, "notes.csv:2"),
        ("another", None, "notes.csv:4"),
    ]
    assert (read.found, read.empty) == (2, 2)
    with pytest.raises(DataError, match=r"notes.csv has no column `text`"):
        read_general_text("general", spec_of(source))
    parts = {"kind": "files", "train": str(tmp_path / "none.csv"), "test": str(path)}
    with pytest.raises(DataError, match="no file"):
        read_general_text("general", spec_of(parts, column="body"))


def test_the_held_out_part_of_a_split_source_is_read(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"text\n{name} one\n{name} two\n", encoding="utf-8")
    source = {"kind": "files", "train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    read = read_general_text("general", spec_of(source))
    assert [one.text for one in read.examples] == ["test one", "test two"]
    assert read.source.endswith(", test rows")


def test_a_built_in_source_needs_no_label():
    read = read_general_text("general", spec_of({"kind": "statements"}, rows=7))
    assert len(read.examples) == 7
    assert {one.gold for one in read.examples} == {None}


def test_rows_that_are_trained_on_are_counted_whatever_column_they_stand_in():
    rows = [
        Example(str(place), "held-out", text, None, "t")
        for place, text in enumerate(["Text A ", "pair", "gold", "new"])
    ]
    train = (Example("1", "train", "text  a", "gold", "r:1", pair="Pair"),)

    def data(labels):
        return DataSet({"train": train}, labels, "-", DataReport("-", {}))

    assert count_overlap(rows, data(()), 0.8).exact == 3
    assert count_overlap(rows, data(("gold", "other")), 0.8).exact == 2, "a label is a word, no text"
    long = "The quick brown fox jumps over the lazy dog and runs on through the fields until the night falls"
    near = count_overlap(
        [Example("1", "held-out", long, None, "t")],
        DataSet({"train": (Example("1", "train", long + ".", "x", "r"),)}, ("x", "y"), "-", DataReport("-", {})),
        0.8,
    )
    assert (near.exact, near.near) == (0, 1)
