"""Rows as they stand in a file or data set, column by column, each with the place it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whichtune.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Table:
    """Columns of equal length. Only the wanted ones hold values; all are named, for messages."""

    name: str
    """What messages call it: a file's name, or data set and split."""
    names: tuple[str, ...]
    """Every column there is."""
    values: dict[str, Sequence[object]]
    """Column to its values, for the wanted columns."""
    places: Sequence[int]
    """Line (text files) or row (others) of each, from 1."""
    encoding: str | None = None
    """Text encoding where it is not UTF-8."""
    root: Path | None = None
    """Folder that paths of images start at and stay in; None where there are none."""
    keys: Sequence[str] | None = None
    """A name of each row that does not hang on the order of rows, where it has one, such as an image's path."""

    def __len__(self) -> int:
        return len(self.places)

    def origin(self, index: int) -> str:
        """Where a row stands, such as `reviews.csv:17` or `photos/cat/1.jpg`."""
        return f"{self.name}:{self.places[index]}" if self.keys is None else f"{self.name}/{self.keys[index]}"

    def key(self, index: int) -> str:
        """What tells a row from the others of its table: its name, or its place."""
        return str(self.places[index]) if self.keys is None else self.keys[index]


def choose_columns(name: str, there: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the wanted columns (all when None), or raise for the first one that is not there."""
    if wanted is None:
        return tuple(there)
    for column in wanted:
        if column not in there:
            raise DataError(
                f"{name} has no column `{column}`",
                allowed=", ".join(map(str, there[:20])) + (", ..." if len(there) > 20 else ""),
                remedy=" ".join(filter(None, [did_you_mean(column, there), _hint(there)])) or "set `data.columns`",
            )
    return tuple(dict.fromkeys(wanted))


def _hint(there: Sequence[str]) -> str:
    """What a table that came out as one column probably is."""
    alone = there[0] if len(there) == 1 else ""
    for mark, word in ((";", "semicolons"), ("\t", "tabs: set `format: tsv`"), ("|", "bars")):
        if mark in alone:
            return f"its columns seem to be separated by {word}; CSV is read with commas"
    if there and all(column.isdigit() for column in there):
        return "without a header the columns are numbered from 0"
    return ""
