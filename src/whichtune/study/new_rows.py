"""Rows that a finished trial has not seen: read from a file, sifted, each kept in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whichtune.data.cleaning import judge_text, read_answer, read_gold, read_label
from whichtune.data.examples import Example
from whichtune.data.reading import Reading, read_file
from whichtune.data.tables import Table
from whichtune.errors import DataError, did_you_mean

NEW = "new"


@dataclass(frozen=True)
class Wanted:
    """Which columns of a file are read; None for what is not."""

    text: str = "text"
    label: str | None = None
    pair: str | None = None
    id: str | None = None
    must_have_id: bool = False
    """Whether a file without the id's column is refused; otherwise a row's place is its id there."""


@dataclass
class NewRows:
    """Every row of a file: those that can be answered as examples, the others with the reason why not."""

    name: str
    ids: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    pairs: list[str | None] = field(default_factory=list)
    """Second texts, where rows have two."""
    examples: list[Example | None] = field(default_factory=list)
    """None for a row that cannot be answered."""
    reasons: list[str | None] = field(default_factory=list)
    """Why a row cannot be answered or scored: `empty`, `not-text`, `unlabeled`, `no-answer`."""
    encoding: str | None = None

    @property
    def usable(self) -> list[Example]:
        """The rows that can be answered, in order."""
        return [one for one in self.examples if one is not None]

    @property
    def left_out(self) -> dict[str, int]:
        """Reason to number of rows."""
        return dict(Counter(reason for reason in self.reasons if reason is not None))

    def add(self, identity: str, text: object, pair: object, origin: str, *, two: bool, gold: str | None) -> None:
        """Add one row; what is no text keeps its place."""
        reason = judge_text(text) or (judge_text(pair) if two else None)
        self.ids.append(identity)
        self.texts.append(None if text is None else str(text))
        self.pairs.append(None if pair is None else str(pair))
        self.reasons.append(reason)
        second = str(pair) if two else None
        self.examples.append(Example(identity, NEW, str(text), gold, origin, second) if reason is None else None)

    def drop(self, place: int, reason: str) -> None:
        """Take a row out of those that are answered."""
        self.examples[place], self.reasons[place] = None, reason


def read_rows(path: Path, columns: Wanted, how: Reading, *, two: bool) -> NewRows:
    """Read rows to be answered; without a column of ids the place in the file is the id."""
    return _gather(read_file(path, how), columns, two=two, golds=None)


def read_labelled(
    path: Path, columns: Wanted, how: Reading, labels: Sequence[str] | None, unlabeled: Collection[str], *, two: bool
) -> NewRows:
    """Read rows with their labels, each of which the trial must know; rows without one are left out.

    Without `labels` gold are texts or numbers of any kind, and `unlabeled` does not count.
    """
    table = read_file(path, how)
    values = _column(table, columns.label, "label")
    origins = map(table.origin, range(len(table)))
    if labels is None:
        golds = [read_answer(value, origin) for value, origin in zip(values, origins, strict=True)]
    else:
        golds = [read_gold(value, origin, unlabeled, labels) for value, origin in zip(values, origins, strict=True)]
        _require_known(table, golds, labels)
    rows = _gather(table, columns, two=two, golds=golds)
    for place, gold in enumerate(golds):
        if gold is None and rows.examples[place] is not None:
            rows.drop(place, "unlabeled" if labels is not None else "no-answer")
    if not rows.usable:
        what = "label" if labels is not None else "answer"
        raise DataError(f"{table.name} has no row with text and {what}", remedy="check `--text` and `--label`")
    return rows


def _gather(table: Table, columns: Wanted, *, two: bool, golds: Sequence[str | None] | None) -> NewRows:
    rows = NewRows(table.name, encoding=table.encoding)
    texts = _column(table, columns.text, "text")
    pairs = _column(table, columns.pair, "pair") if two else None
    identities = None if columns.id is None else table.values.get(columns.id)
    if identities is None and columns.must_have_id:
        identities = _column(table, columns.id, "id")
    for place, text in enumerate(texts):
        origin = table.origin(place)
        own = None if identities is None else read_label(identities[place], origin, columns.id)
        pair = None if pairs is None else pairs[place]
        gold = None if golds is None else golds[place]
        rows.add(own or str(table.places[place]), text, pair, origin, two=two, gold=gold)
    return rows


def _column(table: Table, name: str | None, flag: str) -> Sequence[object]:
    if name is not None and name in table.values:
        return table.values[name]
    there = ", ".join(map(str, table.names[:20])) + (", ..." if len(table.names) > 20 else "")
    what = {"pair": "second text"}.get(flag, flag)
    thing = f"{table.name}: the column of the {what}" if name is None else f"{table.name} has no column `{name}`"
    near = "" if name is None else did_you_mean(name, table.names)
    raise DataError(thing, allowed=there, remedy=" ".join(filter(None, [near, f"name it with `--{flag}`"])))


def _require_known(table: Table, golds: Sequence[str | None], labels: Sequence[str]) -> None:
    odd = [(place, gold) for place, gold in enumerate(golds) if gold is not None and gold not in labels]
    if not odd:
        return
    place, gold = odd[0]
    shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
    count = f" ({len(odd):,} rows have a label that the trial was not trained on)" if len(odd) > 1 else ""
    near = did_you_mean(str(gold), labels)
    raise DataError(
        f"{table.origin(place)}: label{count}", value=gold, allowed=shown, remedy=near or "check the column: `--label`"
    )
