"""Predictions come back from disk as they were written."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions, read_predictions, write_predictions

LABELS = ("no", "a label, with\x1fodd \x1e signs", "是")


def make(split: str, rows: int, *, probabilities: bool = True) -> Predictions:
    generator = np.random.default_rng(rows)
    return Predictions(
        split=split,
        ids=[f"{split}-{place}" for place in range(rows)],
        gold=[LABELS[place % 3] for place in range(rows)],
        parsed=[None if place % 4 == 0 else LABELS[place % 3] for place in range(rows)],
        confidence=generator.random(rows).astype(np.float32),
        loss=generator.random(rows).astype(np.float32),
        probabilities=generator.dirichlet([1, 1, 1], rows).astype(np.float32) if probabilities else None,
        labels=LABELS,
    )


def assert_same(one: Predictions, other: Predictions) -> None:
    assert (one.split, one.ids, one.gold, one.parsed, one.labels) == (
        other.split, other.ids, other.gold, other.parsed, other.labels,
    )  # fmt: skip
    for name in ("confidence", "loss", "probabilities", "tokens_in", "tokens_out", "batch_seconds", "gold_rank"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


def test_several_splits_round_trip(tmp_path) -> None:
    path = tmp_path / "deep" / "predictions.parquet"
    written = [make("validation", 5), make("test", 9)]
    written[1].tokens_in = np.arange(9, dtype=np.int32)
    written[1].batch_seconds = np.full(9, 0.5, np.float32)
    write_predictions(path, written)
    read = read_predictions(path)
    assert list(read) == ["validation", "test"]
    for one in written:
        assert_same(read[one.split], one)
    assert_same(read_predictions(path, "test")["test"], written[1])
    assert read_predictions(path, "train") == {}
    assert [each.name for each in path.parent.iterdir()] == ["predictions.parquet"]


def test_without_probabilities(tmp_path) -> None:
    path = tmp_path / "p.parquet"
    mixed = [make("validation", 4), make("test", 6, probabilities=False)]
    write_predictions(path, mixed)
    read = read_predictions(path)
    assert read["test"].probabilities is None
    np.testing.assert_array_equal(read["validation"].probabilities, mixed[0].probabilities)


def test_every_answer_unreadable(tmp_path) -> None:
    one = make("test", 3)
    one.parsed = [None, None, None]
    write_predictions(tmp_path / "p.parquet", [one])
    assert read_predictions(tmp_path / "p.parquet")["test"].parsed == [None, None, None]


def test_nothing_predicted(tmp_path) -> None:
    write_predictions(tmp_path / "p.parquet", [])
    assert read_predictions(tmp_path / "p.parquet") == {}
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 0


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short"])
def test_a_broken_file_is_named(tmp_path, content) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"p\.parquet: not a readable predictions file"):
        read_predictions(path)


def test_no_file_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match="not a readable predictions file"):
        read_predictions(tmp_path / "none.parquet")


def test_ranks_come_back_and_files_older_than_ranks_are_read(tmp_path) -> None:
    path = tmp_path / "p.parquet"
    ranked, other = make("test", 9), make("validation", 4)
    ranked.gold_rank = np.array([0, 3, 100, 32_767, 5, 4, 1, 0, 2], np.int16)
    write_predictions(path, [other, ranked])
    read = read_predictions(path)
    assert_same(read["test"], ranked)
    assert read["validation"].gold_rank is None
    pq.write_table(pq.read_table(path).drop_columns(["gold_rank"]), path)
    older = read_predictions(path, "test")["test"]
    assert older.gold_rank is None
    np.testing.assert_array_equal(older.loss, ranked.loss)
