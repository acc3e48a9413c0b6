"""Statements that are true or false, written for this project: rows that ship with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import zip_longest

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.sources import StatementsSource

_NAMES = ("id", "text", "label", "topic")


def read_statements(source: StatementsSource, needs: Needs) -> Rows:
    """Read the statements, true ones and false ones in turn: columns `id`, `text`, `label`, `topic`."""
    del source
    rows = list_statements()
    whole: dict[str, Sequence[object]] = dict(zip(_NAMES, map(list, zip(*rows, strict=True)), strict=True))
    chosen = choose_columns("statements", _NAMES, needs.names)
    table = Table("statements.json", _NAMES, {name: whole[name] for name in chosen}, range(1, len(rows) + 1))
    print_ = fingerprint_texts(part for row in rows for part in row)
    return Rows({WHOLE: table}, f"statements: {len(rows)} of our own (sha256 {print_[:12]})")


def list_statements() -> list[tuple[str, str, str, str]]:
    """Return (id, statement, `true` or `false`, topic) of each."""
    path = files("whichtune.data.authored").joinpath("statements.json")
    topics: dict[str, dict[str, list[str]]] = json.loads(path.read_text(encoding="utf-8"))
    rows: list[tuple[str, str, str, str]] = []
    for topic, by_label in topics.items():
        turns = zip_longest(*([(label, text) for text in texts] for label, texts in by_label.items()))
        told = [one for turn in turns for one in turn if one is not None]
        rows += [(f"{topic}:{place}", text, label, topic) for place, (label, text) in enumerate(told, 1)]
    return rows
