"""What a page is made of before it is written: parts, and in each of them charts, tables and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whichtune.report.charts.chart import Chart
from whichtune.report.sections import ListSection, Section, TableSection


@dataclass(frozen=True)
class TableBlock:
    """A table as the page shows it."""

    section: TableSection
    marks: Mapping[int, str] = field(default_factory=dict)
    """Row to the class it is written in."""
    folded: bool = False
    """Shown behind its title."""
    kind: str = "table"


@dataclass(frozen=True)
class ListBlock:
    """A titled list of sentences."""

    section: ListSection
    kind: str = "list"


@dataclass(frozen=True)
class ChartBlock:
    """A chart with its choices and its tables."""

    chart: Chart
    kind: str = "chart"


@dataclass(frozen=True)
class BrowserBlock:
    """The place of the example browser; what it shows is data of the page."""

    note: str
    kind: str = "browser"


Block = TableBlock | ListBlock | ChartBlock | BrowserBlock


@dataclass(frozen=True)
class Part:
    """A part of the page with a heading and a place in its contents."""

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    """A sentence below the heading."""


def wrap(sections: Sequence[Section], *, folded: bool = False) -> list[Block]:
    """Turn sections into blocks; those without anything in them are left out."""
    blocks: list[Block] = []
    for one in sections:
        if isinstance(one, TableSection):
            blocks += [TableBlock(one, folded=folded)] if one.rows else []
        elif one.lines:
            blocks.append(ListBlock(one))
    return blocks
