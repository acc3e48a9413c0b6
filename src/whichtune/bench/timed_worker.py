"""A study's worker that also says how long it was inside passes: `python -m whichtune.bench.timed_worker FD`."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from whichtune.bench.passes import timing_passes
from whichtune.measure.device import pick_device
from whichtune.study import worker, working

FOLDER = "WHICHTUNE_BENCH_PASSES"
"""Environment variable: the folder in which each worker leaves its seconds as a file."""
DEVICE = "WHICHTUNE_BENCH_DEVICE"
"""Environment variable: where they run."""


def main(handle: str) -> None:
    """Work as any worker until told to end, and leave the seconds inside passes behind."""
    with timing_passes(pick_device(os.environ[DEVICE])) as passes:
        try:
            working.main(handle)
        finally:
            (Path(os.environ[FOLDER]) / str(os.getpid())).write_text(repr(passes.seconds), encoding="ascii")


@contextmanager
def timing_workers(folder: Path, device: torch.device) -> Generator[None]:
    """Let studies that run inside start such workers, which leave their seconds in a new folder."""
    folder.mkdir(parents=True)
    before, worker.MODULE = worker.MODULE, __name__
    os.environ.update({FOLDER: str(folder), DEVICE: str(device)})
    try:
        yield
    finally:
        worker.MODULE = before
        del os.environ[FOLDER], os.environ[DEVICE]


def sum_workers(folder: Path) -> float:
    """Return the seconds that all workers were inside passes."""
    return sum(float(path.read_text(encoding="ascii")) for path in folder.iterdir())


if __name__ == "__main__":
    main(*sys.argv[1:])
