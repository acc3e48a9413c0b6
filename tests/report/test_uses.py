"""Which rows are the same rows, and how uses of them are counted."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whichtune.records.folder import StudyFolder
from whichtune.report.uses import FILE, count_use, fingerprint_rows


@pytest.fixture
def write(tmp_path):
    """Return a function that makes a study's examples."""

    def make(name: str, rows, split: str = "test") -> StudyFolder:
        folder = StudyFolder(tmp_path / name)
        folder.path.mkdir()
        columns = dict(zip(("id", "text", "gold"), zip(*rows, strict=True), strict=True))
        table = {key: list(values) for key, values in columns.items()} | {"split": [split] * len(rows)}
        pq.write_table(pa.table(table), folder.examples)
        return folder

    return make


ROWS = [("a", "one", "yes"), ("b", "two", "no"), ("c", "three", "yes")]
IDS = ["a", "b", "c"]


def test_rows_are_the_same_in_any_order_and_under_any_name(write) -> None:
    first = fingerprint_rows(write("first", ROWS), "test", IDS)
    assert fingerprint_rows(write("second", ROWS[::-1]), "test", IDS[::-1]) == first


@pytest.mark.parametrize("place", [0, 1, 2])
def test_another_id_text_or_answer_makes_other_rows(write, place) -> None:
    changed = [tuple("x" if at == place else part for at, part in enumerate(ROWS[0])), *ROWS[1:]]
    ids = [row[0] for row in changed]
    assert fingerprint_rows(write("a", ROWS), "test", IDS) != fingerprint_rows(write("b", changed), "test", ids)


def test_rows_that_were_not_scored_do_not_count(write) -> None:
    more = write("more", [*ROWS, ("d", "four", "no")])
    assert fingerprint_rows(more, "test", IDS) == fingerprint_rows(write("first", ROWS), "test", IDS)


def test_without_examples_ids_alone_tell(tmp_path, write) -> None:
    bare = fingerprint_rows(StudyFolder(tmp_path / "none"), "test", IDS)
    assert bare == fingerprint_rows(StudyFolder(tmp_path / "none"), "test", IDS[::-1])
    assert bare == fingerprint_rows(write("other", ROWS, split="train"), "test", IDS)
    assert bare != fingerprint_rows(write("first", ROWS), "test", IDS)


def test_a_line_a_study_and_set_of_trials(tmp_path) -> None:
    first, second = StudyFolder(tmp_path / "first"), StudyFolder(tmp_path / "second")
    assert count_use(first, "rows", ["x", "y"]) == 1
    assert count_use(first, "rows", ["y", "x"]) == 1
    assert count_use(second, "rows", ["x", "y"]) == 2
    assert count_use(first, "other rows", ["x", "y"]) == 1
    assert count_use(first, "rows", ["x"]) == 3
    path = tmp_path / FILE
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    with path.open("a", encoding="utf-8") as handle:
        handle.write('{"rows": "cut sho\n')
    assert count_use(first, "rows", ["x"]) == 3
