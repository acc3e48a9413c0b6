import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.data.reading import Reading, read_file
from whichtune.errors import DataError

ROWS = [("a fine film", "1"), ('he said "no", twice', "0"), ("two\nlines", "1"), ("U+2028: \u2028 here", "0")]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_csv(rows):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


@pytest.fixture
def files(tmp_path):
    """The same rows in each format that can hold them."""
    table = pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    pq.write_table(table, tmp_path / "rows.parquet")
    lines = "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in ROWS)
    return {
        "csv": write(tmp_path / "rows.csv", write_csv([("text", "label"), *ROWS])),
        "jsonl": write(tmp_path / "rows.jsonl", lines),
        "parquet": tmp_path / "rows.parquet",
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(files, kind):
    table = read_file(files[kind])
    assert table.names == ("text", "label")
    assert list(zip(table.values["text"], table.values["label"], strict=True)) == ROWS
    assert table.encoding is None


def test_places_are_lines_or_rows(files):
    assert list(read_file(files["csv"]).places) == [2, 3, 4, 6]
    assert list(read_file(files["jsonl"]).places) == [1, 2, 3, 4]
    assert read_file(files["parquet"]).origin(3) == "rows.parquet:4"


def test_only_the_wanted_columns_are_kept(files):
    for path in files.values():
        table = read_file(path, wanted=("label",))
        assert set(table.values) == {"label"}
        assert table.names == ("text", "label")


def test_a_missing_column_names_the_nearest_and_all(files):
    for path in files.values():
        with pytest.raises(DataError, match=r"has no column `lable`; allowed: text, label; did you mean 'label'\?"):
            read_file(path, wanted=("text", "lable"))


def test_tsv_has_no_quoting(tmp_path):
    path = write(tmp_path / "t.tsv", 'text\tlabel\r\n"Wow" she said\tpos\r\n"\tneg\r\n')
    table = read_file(path)
    assert table.values["text"] == ['"Wow" she said', '"']
    assert table.values["label"] == ["pos", "neg"]


def test_without_a_header_columns_are_numbered(tmp_path):
    path = write(tmp_path / "t.txt", "1\tx\n2\ty\n")
    table = read_file(path, Reading("tsv", header=False))
    assert table.values == {"0": ["1", "2"], "1": ["x", "y"]}
    assert list(table.places) == [1, 2]
    with pytest.raises(DataError, match="numbered from 0"):
        read_file(path, Reading("tsv", header=False), ("text",))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert read_file(write(tmp_path / "t.csv", b"\xef\xbb\xbftext,label\na,b\n")).names == ("text", "label")


def test_a_latin1_file_is_read_and_reported(tmp_path):
    text = "text,label\n" + "Un café très agréable à côté,pos\nLe garçon était désagréable,neg\n" * 4
    table = read_file(write(tmp_path / "t.csv", text.encode("latin-1")))
    assert table.values["text"][0] == "Un café très agréable à côté"
    assert table.encoding == "cp1252"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "text,label\na,b\nc\nd,e,f\ng,h\n", "first line's 2: t.csv:3 has 1, t.csv:4 has 3"),
        ("t.tsv", "text\tlabel\na\n", "t.tsv:2 has 1"),
        ("t.csv", 'text,label\na,b\n"c,d\ne,f\n', "t.csv:3 is not valid CSV"),
        ("t.csv", 'text,label\n"a" b,c\n', "t.csv:2 is not valid CSV"),
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "\n\n", "t.csv is empty"),
        ("t.csv", "a,a\n1,2\n", "names a column twice"),
        ("t.jsonl", '{"text": "a"}\n{"text": \n', "t.jsonl:2 is not JSON: Expecting value, column 10"),
        ("t.jsonl", '\n["a"]\n', "t.jsonl:2 holds a JSON list"),
        ("t.jsonl", "\n", "t.jsonl is empty"),
        ("t.jsonl", "[" * 100_000, "t.jsonl:1 is n"),
        ("t.parquet", "not parquet", "t.parquet cannot be read as Parquet"),
        ("t.parquet", "", "t.parquet cannot be read as Parquet"),
        ("t.xlsx", "a", "the format of t.xlsx does not show in its name"),
    ],
)
def test_a_broken_file_is_one_message_with_its_place(tmp_path, name, content, words):
    with pytest.raises(DataError) as caught:
        read_file(write(tmp_path / name, content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_semicolon_file_says_what_it_is(tmp_path):
    path = write(tmp_path / "t.csv", "text;label\na;b\n")
    with pytest.raises(DataError, match="separated by semicolons"):
        read_file(path, wanted=("text", "label"))


def test_a_missing_file_names_its_nearest_sibling(tmp_path):
    write(tmp_path / "reviews.csv", "")
    with pytest.raises(DataError, match=r"did you mean 'reviews\.csv'"):
        read_file(tmp_path / "review.csv")
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist"):
        read_file(tmp_path / "nowhere" / "review.csv")


def test_a_folder_is_not_a_file(tmp_path):
    write(tmp_path / "reviews.csv", "")
    with pytest.raises(DataError, match=r"is a folder, not a file; it holds reviews\.csv"):
        read_file(tmp_path)


def test_a_very_long_field_is_read_and_the_limit_put_back(tmp_path):
    before = csv.field_size_limit()
    table = read_file(write(tmp_path / "t.csv", "text,label\n" + "x" * 300_000 + ",a\n"))
    assert len(table.values["text"][0]) == 300_000
    assert csv.field_size_limit() == before


def test_a_key_that_a_line_lacks_is_none(tmp_path):
    table = read_file(
        write(tmp_path / "t.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n'), wanted=("text", "label")
    )
    assert table.values["label"] == [1, None]


fields = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), min_size=1, max_size=8)


@given(st.lists(st.tuples(fields, fields), min_size=1, max_size=6))
def test_whatever_csv_can_hold_comes_back(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("csv") / "t.csv", write_csv([("a", "b"), *rows]))
    table = read_file(path)
    assert list(zip(table.values["a"], table.values["b"], strict=True)) == rows
