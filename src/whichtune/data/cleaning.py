"""From rows to usable examples: what cannot be used is counted by reason and named by its place."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from whichtune.data.examples import Dropped, Example
from whichtune.data.reading import Row, Table
from whichtune.errors import DataError, did_you_mean
from whichtune.spec.sources import Columns

SHOWN = 5
"""Rows named for each reason."""


@dataclass
class Sieve:
    """Keeps usable rows and remembers the others."""

    columns: Columns
    dropped: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """(reason, part) to the places of the rows."""
    seen: set[str] = field(default_factory=set)

    def sift(self, part: str, table: Table) -> list[Example]:
        """Turn the usable rows of one table into examples."""
        require_columns(part, table, self.columns)
        found = (self._make(part, place, row) for place, row in enumerate(table.rows))
        return [example for example in found if example is not None]

    def told(self) -> tuple[Dropped, ...]:
        """Count what was left out, with the first few places."""
        return tuple(
            Dropped(reason, part, len(places), tuple(places[:SHOWN])) for (reason, part), places in self.dropped.items()
        )

    def _make(self, part: str, place: int, row: Row) -> Example | None:
        text, gold = row.fields.get(self.columns.text), read_label(row.fields.get(self.columns.label))
        reason = judge_text(text) or ("unlabeled" if gold is None else None)
        if reason is not None:
            self.dropped[reason, part].append(row.origin)
            return None
        assert gold is not None  # noqa: S101 - judged above
        return Example(self._identify(part, place, row), part, str(text), gold, row.origin)

    def _identify(self, part: str, place: int, row: Row) -> str:
        if self.columns.id is None:
            return f"{part}:{place}"
        own = str(row.fields.get(self.columns.id))
        if own in self.seen:
            raise DataError(
                f"{row.origin}: this id stands twice", value=own, remedy="choose another `columns.id`, or leave it out"
            )
        self.seen.add(own)
        return own


def require_columns(part: str, table: Table, columns: Columns) -> None:
    """Say which column is missing, and which there are."""
    for role in ("text", "label", "id"):
        name = getattr(columns, role)
        if name is not None and name not in table.columns:
            raise DataError(
                f"data.columns.{role}: the {part} rows have no such column",
                value=name,
                allowed=", ".join(table.columns),
                remedy=did_you_mean(name, table.columns),
            )


def judge_text(value: Any) -> str | None:
    """Return why a value is no usable text, or None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "empty"
    if not isinstance(value, str):
        return "not-text"
    return None if value.strip() else "empty"


def read_label(value: Any) -> str | None:
    """Read a label as a word; whole numbers lose their decimals, nothing and blanks are no label."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = str(value).strip()
    return word or None
