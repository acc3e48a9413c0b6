"""Rows of numbers that are computed once and then read from disk: in fixed shards, so that a run goes on where it was.

Nothing here knows what the rows are. N rows of one shape.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whichtune.fetch.atomic import writing
from whichtune.fetch.cache import locked

SHARD_ROWS = 1024
"""Rows of one shard where nothing is said of it: what a stopped run loses at most, and what decides the batches."""


@dataclass(frozen=True)
class Rows:
    """What a store holds."""

    count: int
    """N."""
    shape: tuple[int, ...]
    """Shape of one row."""
    kind: str = "float32"
    """Type of its numbers, as NumPy names it."""
    shard: int = SHARD_ROWS
    """Rows computed at a time."""

    @property
    def whole(self) -> tuple[int, ...]:
        """Shape of all rows together."""
        return (self.count, *self.shape)


def fill_store(place: Path, rows: Rows, compute: Callable[[range], np.ndarray]) -> np.ndarray:
    """Return `place` as a memory-mapped array, [N, ...] and read-only; what is missing is computed first.

    `compute` gives the rows of a range, and nothing but the range may decide them. The name of `place` must hold all
    that decides the rows. Each shard is a file that is complete or absent until all of them are joined; processes
    that want the same store wait for the first.
    """
    if not rows.count:
        return np.empty(rows.whole, rows.kind)
    if not place.is_file():
        with locked(place):
            if not place.is_file():
                _join(place, _fill_shards(place, rows, compute), rows)
            shutil.rmtree(_shard_folder(place), ignore_errors=True)
    return np.load(place, mmap_mode="r")


def _shard_folder(place: Path) -> Path:
    return place.with_name(f"{place.name}.shards")


def _fill_shards(place: Path, rows: Rows, compute: Callable[[range], np.ndarray]) -> list[Path]:
    """Compute the shards that are not there yet; return all of them in order."""
    paths: list[Path] = []
    for start in range(0, rows.count, rows.shard):
        shard = range(start, min(start + rows.shard, rows.count))
        path = _shard_folder(place) / f"{start:012d}.npy"
        if not path.is_file():
            computed = np.ascontiguousarray(compute(shard), dtype=rows.kind)
            expected = (len(shard), *rows.shape)
            if computed.shape != expected:
                raise ValueError(f"rows {start} to {shard.stop}: got {computed.shape}, expected {expected}")
            with writing(path) as temporary, temporary.open("wb") as handle:
                np.save(handle, computed)
        paths.append(path)
    return paths


def _join(place: Path, shards: list[Path], rows: Rows) -> None:
    """Put the shards into one file, one at a time."""
    with writing(place) as temporary:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=rows.kind, shape=rows.whole)
        start = 0
        for path in shards:
            part = np.load(path)
            whole[start : start + len(part)] = part
            start += len(part)
        whole.flush()
