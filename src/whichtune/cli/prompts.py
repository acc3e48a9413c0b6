"""Texts to be asked about: arguments, a file, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from whichtune.errors import DataError


def gather_texts(given: Sequence[str], file: Path | None, *, what: str) -> list[str]:
    """Return the texts that were given; standard input, a line each, where none was and it is no terminal."""
    asked = list(given) == ["-"]
    texts = [*([] if asked else given), *([] if file is None else read_texts(file, what))]
    if asked or (not given and file is None and not sys.stdin.isatty()):
        texts += split_lines(sys.stdin.buffer.read().decode("utf-8", errors="replace"))
    if not texts:
        remedy = f'for example `"A {what} in quotes"`, or `--file`'
        raise DataError(f"no {what}", allowed="arguments, --file, or lines on standard input", remedy=remedy)
    for place, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"{what} {place} is empty", value=text, remedy="write at least a word")
    return texts


def read_texts(file: Path, what: str) -> list[str]:
    """Read a file of texts: the column `text` of a table, or a text a line."""
    from whichtune.data.reading import SUFFIXES, read_file

    if file.suffix.lower() in SUFFIXES:
        table = read_file(file)
        if "text" not in table.values:
            there = ", ".join(map(str, table.names[:20]))
            raise DataError(f"{file} has no column `text`", allowed=there, remedy="name the column so")
        texts = ["" if value is None else str(value) for value in table.values["text"]]
    else:
        texts = split_lines(file.read_bytes().decode("utf-8-sig", errors="replace"))
    if not texts:
        raise DataError(f"{file} holds no {what}", remedy=f"write a {what} a line")
    return texts


def split_lines(text: str) -> list[str]:
    """Return the lines of a text that hold more than white space."""
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]
