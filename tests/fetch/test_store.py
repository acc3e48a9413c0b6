"""The store: shards, going on after a stop, one file in the end."""

import numpy as np
import pytest

from whichtune.fetch import store
from whichtune.fetch.store import Rows, fill_store

ROWS = Rows(10, (2,), shard=4)


def make_rows(rows):
    return np.array([[row, row**2] for row in rows], np.float32)


class Stopped(Exception):
    pass


def test_rows_are_computed_once_in_fixed_shards_and_memory_mapped(tmp_path):
    asked = []

    def compute(rows):
        asked.append((rows.start, rows.stop))
        return make_rows(rows)

    place = tmp_path / "deep" / "one.npy"
    for _ in range(2):
        found = fill_store(place, ROWS, compute)
        assert isinstance(found, np.memmap)
        assert found.dtype == np.float32
        assert not found.flags.writeable
        assert np.array_equal(found, make_rows(range(10)))
    assert asked == [(0, 4), (4, 8), (8, 10)]
    assert [path.name for path in place.parent.iterdir() if not path.name.startswith(".")] == ["one.npy"]


@pytest.mark.parametrize("last", [0, 4, 8])
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, last):
    place, asked = tmp_path / "one.npy", []

    def break_off(rows):
        if rows.start == last:
            raise Stopped
        return make_rows(rows)

    def go_on(rows):
        asked.append(rows.start)
        return make_rows(rows)

    with pytest.raises(Stopped):
        fill_store(place, ROWS, break_off)
    assert not place.exists()
    assert np.array_equal(fill_store(place, ROWS, go_on), make_rows(range(10)))
    assert asked == [start for start in (0, 4, 8) if start >= last]


def test_a_stop_while_the_shards_are_joined_loses_none_of_them(tmp_path, monkeypatch):
    place = tmp_path / "one.npy"

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(store, "_join", stop)
        with pytest.raises(Stopped):
            fill_store(place, ROWS, make_rows)
    assert np.array_equal(fill_store(place, ROWS, stop), make_rows(range(10)))


def test_no_rows_are_an_empty_array(tmp_path):
    assert fill_store(tmp_path / "none.npy", Rows(0, (3,)), make_rows).shape == (0, 3)


def test_rows_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows 0 to 10: got \(10, 2\), expected \(10, 3\)"):
        fill_store(tmp_path / "one.npy", Rows(10, (3,)), make_rows)
    assert not list(tmp_path.rglob("*.npy"))
