"""Arithmetic word problems with worked solutions, written for this project: rows that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import WordProblemsSource

_NAMES = ("id", "text", "answer", "solution", "topic")


def read_word_problems(source: WordProblemsSource, needs: Needs) -> Rows:
    """Read the problems, split as they are: columns `id`, `text`, `answer`, `solution`, `topic`."""
    del source
    rows = list_word_problems()
    tables = {part: _table_of(part, rows, needs) for part in ("train", "validation", "test")}
    print_ = fingerprint_texts(row[name] for row in rows for name in ("split", *_NAMES))
    return Rows(tables, f"word-problems: {len(rows)} of our own (sha256 {print_[:12]})")


def list_word_problems() -> list[dict[str, str]]:
    """Return each problem: its split and columns, and `check`, which is its answer as an expression.

    Problems that differ in their numbers alone (`money-1a`, `money-1b`) stand in one split.
    """
    path = files("whichtune.data.authored").joinpath("word_problems.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _table_of(part: str, rows: Sequence[Mapping[str, str]], needs: Needs) -> Table:
    own = [row for row in rows if row["split"] == part]
    chosen = choose_columns("word-problems", _NAMES, needs.names)
    values: dict[str, Sequence[object]] = {name: [row[name] for row in own] for name in chosen}
    return Table(f"word-problems/{part}", _NAMES, values, range(1, len(own) + 1))
