"""Files that appear whole or not at all: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing(path: Path) -> Generator[Path]:
    """Give a temporary path beside `path`; on a clean exit it is flushed to disk and takes the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
