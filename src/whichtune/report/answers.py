"""What every candidate answered to the first rows of a split, side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import TrialRecord
from whichtune.report.figures import DASH
from whichtune.report.model import AnswerRow, Comparison, Said
from whichtune.report.sections import Section, TableSection
from whichtune.report.stored import read_table, read_texts

CHARACTERS = 80
"""So much of an answer is shown; all of it stands in the JSON form and in the predictions."""
MATCHED = {"accuracy", "exact_match"}
"""Metrics by which an answer is right or wrong."""
_SIGNS = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def read_answers(folder: StudyFolder, trials: Iterable[TrialRecord], split: str, count: int) -> list[AnswerRow]:
    """Return the first rows of a split with the answers of the first finished trial of each candidate."""
    tables = _first_tables(folder, trials, split) if count > 0 else {}
    if not tables:
        return []
    texts = read_texts(folder)
    first = next(iter(tables.values()))
    places = {name: {row: place for place, row in enumerate(own.ids)} for name, own in tables.items()}
    rows: list[AnswerRow] = []
    for row, gold in list(zip(first.ids, first.gold, strict=True))[:count]:
        said = [_read_one(name, own, places[name].get(row)) for name, own in tables.items()]
        rows.append(AnswerRow(id=row, text=texts.get(row), gold=gold, said=said))
    return rows


def lay_out_answers(comparison: Comparison) -> Iterator[Section]:
    """Yield a table for each row: candidate, answer read, whether it is right, and what was written."""
    matched = any(metric.name in MATCHED for metric in comparison.metrics)
    order = [row.candidate for row in comparison.candidates]
    for one in comparison.answers:
        said = sorted(one.said, key=lambda own: order.index(own.candidate) if own.candidate in order else len(order))
        yield TableSection(
            title=f"Row {one.id}: gold {show(one.gold)}",
            columns=("candidate", "read as", *(("right",) if matched else ()), "written"),
            rows=[tuple(_cells(own, one.gold, matched=matched)) for own in said],
            note="" if one.text is None else show(one.text),
        )


def show(text: str | None, limit: int = CHARACTERS) -> str:
    """Return the beginning of a text on one line, characters that move a cursor made visible."""
    if text is None:
        return DASH
    told = "".join(_sign(each) for each in text[:limit])
    return f"{told} ..." if len(text) > limit else told


def _cells(said: Said, gold: str | None, *, matched: bool) -> Iterator[str]:
    yield said.candidate
    yield show(said.parsed)
    if matched:
        yield "yes" if said.parsed is not None and said.parsed == gold else "no"
    yield show(said.raw)


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return f"\\u{ord(character):04x}" if hidden else character


def _first_tables(folder: StudyFolder, trials: Iterable[TrialRecord], split: str) -> dict[str, Predictions]:
    tables: dict[str, Predictions] = {}
    for one in trials:
        if one.status == "finished" and one.candidate not in tables:
            table = read_table(folder, one.id, split)
            if table is not None:
                tables[one.candidate] = table
    return tables


def _read_one(candidate: str, table: Predictions, place: int | None) -> Said:
    if place is None:
        return Said(candidate=candidate)
    return Said(candidate=candidate, parsed=table.parsed[place], raw=None if table.raw is None else table.raw[place])
