"""A lock between processes of one machine, held through the kernel: a killed process leaves none behind."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def hold_lock(path: Path, *, wait: bool = False) -> Generator[None]:
    """Hold the lock of a path; without `wait` a lock that is taken raises `LockedError` at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise LockedError(str(path)) from error
        yield
