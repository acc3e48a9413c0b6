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

NAME_COLUMNS = {"candidate", "against", "best by its mean", "better than"}
NAME_WIDTH = 12
"""Characters that a candidate's name has at least."""
WORDS_WIDTH = 24
"""Characters that a column of sentences is left beside names."""
GAP = 3
"""Characters between two columns."""
_HYPHENS = re.compile(r"(?<=-)")
_BREAKS = re.compile(r"(?<=[,\[= ])|(?=[@+])")


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
    named = {place for place, title in enumerate(section.columns) if title in NAME_COLUMNS}
    widths = _share_width(section, named, width)
    for place, title in enumerate(section.columns):
        table.add_column(
            Text(plain(title)),
            justify="right" if place in section.right else "left",
            overflow="fold",
            width=widths[place],
        )
    for row in section.rows:
        cells = (break_name(text, widths[place]) if place in named else text for place, text in enumerate(row))
        table.add_row(*map(_cell, cells))
    return table


def break_name(name: str, width: int) -> str:
    """Break a long candidate name before `@` and `+`, after a comma or a bracket, rather than inside a word.

    A part that is too long by itself is broken after its hyphens.
    """
    lines = [""]
    parts = [piece for part in _BREAKS.split(name) for piece in (_HYPHENS.split(part) if len(part) > width else [part])]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _share_width(section: TableSection, named: set[int], width: int) -> list[int]:
    """Return the characters of each column: figures never fold, then names are served, then sentences, then titles."""
    places = range(len(section.columns))
    cells = [[_width(row[place]) for row in section.rows] for place in places]
    wanted = [max(len(title), *own) if own else len(title) for title, own in zip(section.columns, cells, strict=True)]
    sentences = set(places) - named - section.right
    gaps = GAP * (len(places) - 1)
    held: list[int] = []
    for words in range(WORDS_WIDTH, -1, -1):
        held = [_least(section, place, place in named, words) for place in places]
        if sum(held) + gaps <= width:
            break
    left = width - gaps - sum(held)
    for served in (named, sentences, section.right):
        waiting = [place for place in sorted(served) if held[place] < wanted[place]]
        while left > 0 and waiting:
            thinnest = min(waiting, key=lambda place: held[place])
            held[thinnest], left = held[thinnest] + 1, left - 1
            waiting = [place for place in waiting if held[place] < wanted[place]]
    return held


def _least(section: TableSection, place: int, named: bool, words: int) -> int:
    """Return the fewest characters of a column: its figures whole, some of a name, or its sentences' longest word.

    Sentences are given so many characters as `words` says, if they can use them.
    """
    cells = [row[place] for row in section.rows]
    whole = max((_width(cell) for cell in cells), default=0)
    title = max((len(word) for word in section.columns[place].split()), default=1)
    if place in section.right:
        return max(1, title, whole)
    if named:
        return max(1, title, min(whole, NAME_WIDTH))
    longest = max((_width(word) for cell in cells for word in cell.split()), default=0)
    return max(1, title, min(whole, max(words, min(longest, WORDS_WIDTH))))


def _print_lines(section: ListSection, console: Console) -> None:
    table = Table.grid(padding=(0, 1))
    for line in section.lines:
        table.add_row(Text("-"), Text(plain(line), overflow="fold"))
    console.print(table)


def _cell(text: str) -> Text:
    return Text("\n".join(plain(line) for line in text.split("\n")), overflow="fold")


def _width(text: str) -> int:
    return max((Text(plain(line)).cell_len for line in text.split("\n")), default=0)
