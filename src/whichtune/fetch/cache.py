"""The cache: one folder of entries that are filled once, whole, by one process at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from whichtune.errors import FetchError
from whichtune.fetch.locks import hold_lock


def cache_root() -> Path:
    """Return the cache folder: `WHICHTUNE_CACHE`, else `whichtune` under `XDG_CACHE_HOME` or `~/.cache`."""
    own = os.environ.get("WHICHTUNE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "whichtune"


def fill(entry: Path, make: Callable[[Path], None]) -> Path:
    """Return `entry`, made first where it is missing: `make` writes into an empty folder that then takes the name.

    An entry is complete or absent. Processes that want the same one wait for the first and find it done; what a
    killed process left half-made is removed by the next.
    """
    if entry.is_dir():
        return entry
    with locked(entry):
        if not entry.is_dir():
            _make_whole(entry, make)
    return entry


@contextmanager
def locked(entry: Path) -> Generator[None]:
    """Hold the lock of one entry against every other process; it is released even when this one is killed."""
    lock = entry.with_name(f".{entry.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(lock, wait=True))
        except OSError as error:
            raise FetchError(
                "cannot write to the cache",
                value=str(lock.parent),
                remedy=f"{error.strerror or error}; set WHICHTUNE_CACHE to a folder that can be written",
            ) from error
        yield


def _make_whole(entry: Path, make: Callable[[Path], None]) -> None:
    for leftover in entry.parent.glob(f".{entry.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", suffix=".part", dir=entry.parent))
    try:
        make(part)
        _flush(part)
        part.chmod(0o755)
        part.rename(entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring a folder's files to disk, so that a renamed entry is never one of empty files after a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
