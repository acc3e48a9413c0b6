"""The comparison in LaTeX: booktabs tables to put into a document; texts of records stand as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from whichtune.report.figures import plain
from whichtune.report.layout import headline, lay_out
from whichtune.report.model import Comparison
from whichtune.report.sections import ListSection, Section, TableSection

PREAMBLE = r"% Needs: \usepackage[T1]{fontenc} \usepackage{array} \usepackage{booktabs} \usepackage{longtable}"
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}", "µ": r"\ensuremath{\mu}", "μ": r"\ensuremath{\mu}",
    "±": r"\ensuremath{\pm}", "×": r"\ensuremath{\times}", "↓": r"\ensuremath{\downarrow}",
    "↑": r"\ensuremath{\uparrow}", "→": r"\ensuremath{\rightarrow}", "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}", "’": "'", "‘": "`", "“": "``", "”": "''", "\u00a0": "~", "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Characters that LaTeX reads as something else, or that its fonts lack. Brackets could be taken for an option."""
_LIGATURE = re.compile(r"-(?=-)")
"""Two hyphens are no dash."""
LETTERS = range(0xC0, 0x180)
"""Accented Latin letters, which every LaTeX knows; what lies beyond is written by its number."""
LONG_ROWS = 35
"""A table of more rows may break across pages."""
WIDE = 28
"""A column whose longest line has more characters is a paragraph."""


def render_latex(comparison: Comparison) -> str:
    """Return a comparison as LaTeX, without a preamble of its own."""
    parts = [PREAMBLE, rf"\section*{{{escape(comparison.study)}}}", escape(headline(comparison))]
    parts += [_write(section) for section in lay_out(comparison)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return a text that LaTeX prints as it is; a character that its fonts may lack is written as U+1F600."""
    return _LIGATURE.sub("-{}", "".join(map(_escape, plain(text))))


def _escape(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    code = ord(character)
    known = 0x20 <= code < 0x7F or (code in LETTERS and character.isalpha())
    return character if known else rf"\texttt{{U+{code:04X}}}"


def _write(section: Section) -> str:
    if isinstance(section, ListSection):
        items = "\n".join(rf"\item {escape(line)}" for line in section.lines)
        return f"\\subsection*{{{escape(section.title)}}}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
    return _write_long(section) if len(section.rows) > LONG_ROWS else _write_table(section)


def _write_table(section: TableSection) -> str:
    note = f"\n\\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {escape(section.note)}}}" if section.note else ""
    return (
        f"\\begin{{table}}[htbp]\n\\centering\\small\n\\caption{{{escape(section.title)}}}\n"
        f"\\begin{{tabular}}{{{_columns(section)}}}\n\\toprule\n{_row(section.columns)}\n\\midrule\n"
        f"{_rows(section)}\n\\bottomrule\n\\end{{tabular}}{note}\n\\end{{table}}"
    )


def _write_long(section: TableSection) -> str:
    note = f"\n\n{{\\footnotesize {escape(section.note)}\\par}}" if section.note else ""
    return (
        f"{{\\small\n\\begin{{longtable}}{{{_columns(section)}}}\n\\caption{{{escape(section.title)}}}\\\\\n"
        f"\\toprule\n{_row(section.columns)}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"
        f"{_rows(section)}\n\\end{{longtable}}}}{note}"
    )


def _columns(section: TableSection) -> str:
    lengths = [_longest(section, place) for place in range(len(section.columns))]
    wide = [place for place, length in enumerate(lengths) if length > WIDE and place not in section.right]
    part = rf">{{\raggedright\arraybackslash}}p{{{0.7 / max(1, len(wide)):.2f}\linewidth}}"
    kinds = ("r" if place in section.right else part if place in wide else "l" for place in range(len(lengths)))
    return "@{}" + "".join(kinds) + "@{}"


def _longest(section: TableSection, place: int) -> int:
    return max((len(line) for row in section.rows for line in row[place].split("\n")), default=0)


def _rows(section: TableSection) -> str:
    return "\n".join(map(_row, _unfold(section.rows)))


def _unfold(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Give the second line of a cell a row of its own."""
    unfolded: list[tuple[str, ...]] = []
    for row in rows:
        cells = [text.split("\n") for text in row]
        unfolded += zip_longest(*cells, fillvalue="")
    return unfolded


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
