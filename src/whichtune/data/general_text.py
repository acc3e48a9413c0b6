"""General text to measure what a model forgets on: rows of a source, or paragraphs of a file, and nothing but texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whichtune.data.decoding import decode
from whichtune.data.duplicates import count_duplicates, find_families
from whichtune.data.examples import DataSet, Duplicates, Example
from whichtune.data.needs import Needs
from whichtune.data.reading import check_file
from whichtune.data.rows import judge_text
from whichtune.data.sources.contract import Rows
from whichtune.data.sources.registry import read_source
from whichtune.data.tables import Table
from whichtune.errors import DataError
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts
from whichtune.spec.retention import TextFileSource, TextLossSpec
from whichtune.spec.seeds import derive_seed
from whichtune.spec.sources import Columns

LEAST_ROWS = 2
"""Fewer rows have no variance, and the change on them no interval."""
HELD_OUT = "held-out"
"""Name of the rows of general text, where they are compared with the training rows."""
_PARTS = ("test", "validation", "all", "train")
"""Which part of a source is read, the first that there is."""
_BETWEEN = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")


class TextAlone(Needs):
    """The column of the text and no other."""

    @property
    def names(self) -> tuple[str, ...]:
        """The only column to read."""
        return (self.columns.text,)


@dataclass(frozen=True)
class GeneralText:
    """The rows that are drawn, in the order in which they stand in their source."""

    examples: tuple[Example, ...]
    source: str
    """Where they come from, in words, with the resolved revision or hash."""
    found: int
    """Usable rows that were drawn from."""
    empty: int
    """Rows left out since they hold no text."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids and texts."""
        return fingerprint_texts(part for one in self.examples for part in (one.id, one.text))


def read_general_text(name: str, spec: TextLossSpec) -> GeneralText:
    """Read the rows of a measure; one that is too small to measure on is refused by the measure's name."""
    table, source = _read_file(spec.source) if isinstance(spec.source, TextFileSource) else _read_rows(spec)
    column = next(iter(table.values.values()))
    usable = [place for place, text in enumerate(column) if judge_text(text) is None]
    if len(usable) < LEAST_ROWS:
        raise DataError(
            f"measure.retention.{name}: {table.name} has {len(usable)} rows with text", allowed=f"{LEAST_ROWS} or more",
            remedy="give a file with more text, paragraphs with blank lines between them, or another `column`",
        )  # fmt: skip
    examples = [
        Example(f"{table.name}:{table.key(place)}", HELD_OUT, str(column[place]).strip(), None, table.origin(place))
        for place in usable
    ]
    return GeneralText(tuple(draw_rows(examples, spec)), source, len(usable), len(table) - len(usable))


def draw_rows(examples: Sequence[Example], spec: TextLossSpec) -> list[Example]:
    """Draw so many rows by the hash of their ids, in their order; a smaller choice is part of every larger one."""
    if spec.rows is None or spec.rows >= len(examples):
        return list(examples)
    chosen = set(sorted(range(len(examples)), key=lambda place: _key(spec, examples[place]))[: spec.rows])
    return [one for place, one in enumerate(examples) if place in chosen]


def count_overlap(rows: Sequence[Example], data: DataSet, similarity: float) -> Duplicates:
    """Count the rows that stand, exactly or nearly, among the texts that a study trains on: they are not held out.

    Trained on are texts, second texts and, where answers are texts, the answers.
    """
    texts = [part for one in data.examples["train"] for part in (one.text, one.pair, None if data.labels else one.gold)]
    trained = [Example(text, "train", text, None, "train") for text in dict.fromkeys(texts) if text]
    splits = {HELD_OUT: [_plain(one) for one in rows], "train": trained}
    found = count_duplicates(splits, find_families(splits, similarity))
    return next(one for one in found if one.splits == (HELD_OUT, "train"))


def _plain(one: Example) -> Example:
    return Example(one.id, HELD_OUT, one.text, None, one.origin)


def _key(spec: TextLossSpec, one: Example) -> tuple[int, str]:
    return derive_seed(spec.seed, "retention", "rows", one.id), one.id


def _read_rows(spec: TextLossSpec) -> tuple[Table, str]:
    assert not isinstance(spec.source, TextFileSource)  # noqa: S101 - read as a file
    columns = Columns(text=spec.column, label=f"not {spec.column}")  # there is no label, and it may not be the text
    read: Rows = read_source(spec.source, TextAlone(columns))
    part = next(part for part in _PARTS if part in read.parts)
    return read.parts[part], read.source if len(read.parts) == 1 else f"{read.source}, {part} rows"


def _read_file(source: TextFileSource) -> tuple[Table, str]:
    """Read the paragraphs of a text file; a row's place is the line on which it begins."""
    path = source.path.expanduser()
    check_file(path)
    text, encoding = decode(path.read_bytes(), path.name, source.encoding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    texts: list[str] = []
    places: list[int] = []
    line, start = 1, 0
    for gap in (*_BETWEEN.finditer(text), None):
        paragraph = text[start : len(text) if gap is None else gap.start()]
        if paragraph.strip():
            texts.append(paragraph)
            places.append(line + paragraph[: len(paragraph) - len(paragraph.lstrip())].count("\n"))
        if gap is not None:
            line, start = line + text[start : gap.end()].count("\n"), gap.end()
    table = Table(path.name, ("text",), {"text": texts}, places, encoding)
    return table, f"text file {path.name} (sha256 {fingerprint_file(path)[:12]})"
