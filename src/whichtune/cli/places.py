"""Where commands look when they are not told."""

from __future__ import annotations

from pathlib import Path

from whichtune.errors import InputError

STDOUT = Path("-")
"""In the place of a file that holds text: standard output."""
RUNS = Path("runs")
"""Folder of the studies."""


def require_place(option: str, path: Path, *, text: bool = True) -> None:
    """Refuse a file in a folder that is not there, before any work: a folder by mistake is worse than a message.

    Options that name a folder (`--runs`, `--out-dir`) make it, since it is what they are for.
    """
    if path == STDOUT:
        if not text:
            raise InputError(option, value="-", allowed="a file", remedy="this one is no text for a terminal")
    elif not path.parent.is_dir():
        there = "is no folder" if path.parent.exists() else "is not there"
        raise InputError(
            option,
            value=str(path),
            allowed="a file in a folder that is there",
            remedy=f"{path.parent} {there}; `mkdir -p {path.parent}` makes it",
        )
