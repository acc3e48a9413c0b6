"""What a report is cut into before any form is chosen: titled tables and lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableSection:
    """A table of texts; columns named in `right` hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    right: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class ListSection:
    """A titled list of sentences."""

    title: str
    lines: list[str]


Section = TableSection | ListSection
