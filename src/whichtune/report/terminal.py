"""The comparison on a terminal; it reads well at 80 columns. Texts of records are never read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from whichtune.report.figures import plain
from whichtune.report.layout import ListSection, Section, TableSection, headline, lay_out
from whichtune.report.model import Comparison

NAME_COLUMNS = {"candidate", "against", "best by its mean"}
NAME_WIDTH = 15
"""Characters of a candidate's name that fit beside the figures of the widest table at 80 columns."""
FIGURES_WIDTH = 65
"""Characters of those figures."""
_BREAKS = re.compile(r"(?<=[,\[= ])|(?=@)")


def render_terminal(comparison: Comparison, console: Console) -> None:
    """Print a comparison."""
    console.print(Text(f"Study {plain(comparison.study)}", style="bold"))
    console.print(Text(plain(headline(comparison))))
    print_sections(lay_out(comparison), console)


def print_sections(sections: Iterable[Section], console: Console) -> None:
    """Print tables and lists one below the other."""
    for section in sections:
        console.print()
        console.print(Text(plain(section.title), style="bold"))
        if isinstance(section, ListSection):
            _print_lines(section, console)
        else:
            console.print(build_table(section, console.width))
            if section.note:
                console.print(Padding(Text(plain(section.note), style="dim"), (0, 1)))


def build_table(section: TableSection, width: int) -> Table:
    """Turn a section into a table whose words fold rather than disappear."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    name_width = max(NAME_WIDTH, width - FIGURES_WIDTH)
    named = {place for place, title in enumerate(section.columns) if title in NAME_COLUMNS}
    for place, title in enumerate(section.columns):
        right = place in section.right
        widest = max((_width(row[place]) for row in section.rows), default=0)
        table.add_column(
            Text(plain(title)),
            justify="right" if right else "left",
            overflow="fold",
            min_width=widest if right else 8,
        )
    for row in section.rows:
        table.add_row(*(_cell(break_name(text, name_width) if at in named else text) for at, text in enumerate(row)))
    return table


def break_name(name: str, width: int) -> str:
    """Break a long candidate name before `@`, after a comma or a bracket, rather than inside a word."""
    lines = [""]
    for part in _BREAKS.split(name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _print_lines(section: ListSection, console: Console) -> None:
    table = Table.grid(padding=(0, 1))
    for line in section.lines:
        table.add_row(Text("-"), Text(plain(line), overflow="fold"))
    console.print(table)


def _cell(text: str) -> Text:
    return Text("\n".join(plain(line) for line in text.split("\n")), overflow="fold")


def _width(text: str) -> int:
    return max((Text(plain(line)).cell_len for line in text.split("\n")), default=0)
