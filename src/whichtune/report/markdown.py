"""The comparison as Markdown with pipe tables; texts of records stand as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from whichtune.report.figures import plain
from whichtune.report.layout import ListSection, Section, TableSection, headline, lay_out
from whichtune.report.model import Comparison

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")
_BLOCK_SIGN = re.compile(r"^(\s*)([-+=])")
_BLOCK_NUMBER = re.compile(r"^(\s*\d+)([.)])(?=\s|$)")


def render_markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown."""
    return render_sections(comparison.study, headline(comparison), lay_out(comparison))


def render_sections(title: str, lead: str, sections: Iterable[Section]) -> str:
    """Return titled tables and lists as Markdown, under a title and a first paragraph."""
    parts = [f"# {escape_line(title)}", escape_line(lead)]
    for section in sections:
        parts.append(f"## {escape_line(section.title)}")
        parts.append(_list(section) if isinstance(section, ListSection) else _table(section))
        if isinstance(section, TableSection) and section.note:
            parts.append(escape_line(section.note))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, inside a line."""
    return _SPECIAL.sub(r"\\\1", plain(text))


def escape_line(text: str) -> str:
    """Return a text that Markdown shows as it is, at the start of a line too: no list, no rule."""
    return _BLOCK_NUMBER.sub(r"\1\\\2", _BLOCK_SIGN.sub(r"\1\\\2", escape(text)))


def _list(section: ListSection) -> str:
    return "\n".join(f"- {escape_line(line)}" for line in section.lines)


def _table(section: TableSection) -> str:
    head = _row(section.columns)
    rule = (
        "|" + "|".join(" ---: " if place in section.right else " --- " for place in range(len(section.columns))) + "|"
    )
    return "\n".join([head, rule, *map(_row, section.rows)])


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join("<br>".join(escape(line) for line in cell.split("\n")) for cell in cells) + " |"
