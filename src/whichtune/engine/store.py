"""Rows of numbers that are computed once and then read from disk: in fixed shards, so that a run goes on where it was.

Nothing here knows what the rows are. N rows of width H.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from whichtune.fetch.atomic import writing
from whichtune.fetch.cache import locked

SHARD_ROWS = 1024
"""Rows of one shard, which is what a stopped run loses at most; part of what decides the batches, so of the key."""


def fill_store(place: Path, count: int, width: int, compute: Callable[[range], np.ndarray]) -> np.ndarray:
    """Return `place` as a memory-mapped array, [N, H] float32 and read-only; what is missing is computed first.

    `compute` gives the rows of a range, and nothing but the range may decide them. The name of `place` must hold all
    that decides the rows. Each shard is a file that is complete or absent until all of them are joined; processes
    that want the same store wait for the first.
    """
    if not count:
        return np.empty((0, width), np.float32)
    if not place.is_file():
        with locked(place):
            if not place.is_file():
                _join(place, _fill_shards(place, count, width, compute), (count, width))
            shutil.rmtree(_shard_folder(place), ignore_errors=True)
    return np.load(place, mmap_mode="r")


def _shard_folder(place: Path) -> Path:
    return place.with_name(f"{place.name}.shards")


def _fill_shards(place: Path, count: int, width: int, compute: Callable[[range], np.ndarray]) -> list[Path]:
    """Compute the shards that are not there yet; return all of them in order."""
    paths: list[Path] = []
    for start in range(0, count, SHARD_ROWS):
        rows = range(start, min(start + SHARD_ROWS, count))
        path = _shard_folder(place) / f"{start:012d}.npy"
        if not path.is_file():
            computed = np.ascontiguousarray(compute(rows), dtype=np.float32)
            if computed.shape != (len(rows), width):
                raise ValueError(f"rows {start} to {rows.stop}: got {computed.shape}, expected {(len(rows), width)}")
            with writing(path) as temporary, temporary.open("wb") as handle:
                np.save(handle, computed)
        paths.append(path)
    return paths


def _join(place: Path, shards: list[Path], shape: tuple[int, int]) -> None:
    """Put the shards into one file, one at a time."""
    with writing(place) as temporary:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        start = 0
        for path in shards:
            rows = np.load(path)
            whole[start : start + len(rows)] = rows
            start += len(rows)
        whole.flush()
