"""A study's worker that also says how long it was inside passes: `python -m whichtune.bench.timed_worker FD`."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from whichtune.bench.passes import timing_passes
from whichtune.measure.device import pick_device
from whichtune.study import worker, working

FOLDER = "WHICHTUNE_BENCH_PASSES"
"""Environment variable: the folder in which each worker leaves its seconds as a file."""


def main(handle: str) -> None:
    """Work as any worker until told to end, and leave the seconds inside passes behind."""
    with timing_passes(pick_device("auto")) as passes:
        try:
            working.main(handle)
        finally:
            (Path(os.environ[FOLDER]) / str(os.getpid())).write_text(repr(passes.seconds), encoding="ascii")


@contextmanager
def timing_workers(folder: Path) -> Generator[None]:
    """Let studies that run inside start such workers, which leave their seconds in a new folder."""
    folder.mkdir(parents=True)
    before, os.environ[FOLDER] = worker.MODULE, str(folder)
    worker.MODULE = __name__
    try:
        yield
    finally:
        worker.MODULE = before
        del os.environ[FOLDER]


def sum_workers(folder: Path) -> float:
    """Return the seconds that all workers were inside passes."""
    return sum(float(path.read_text(encoding="ascii")) for path in folder.iterdir())


if __name__ == "__main__":
    main(*sys.argv[1:])
