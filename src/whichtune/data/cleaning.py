"""From rows to usable examples: what cannot be used is counted by reason and named by its place."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from whichtune.data.examples import Dropped, Example
from whichtune.data.needs import Needs
from whichtune.data.rows import Content, find_images, judge_text
from whichtune.data.tables import Table
from whichtune.errors import DataError
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import Answers

SHOWN = 5
"""Rows named for each reason."""


@dataclass
class Sieve:
    """Keeps usable rows and remembers the others, over all parts of a source."""

    needs: Needs
    unlabeled: frozenset[str] = frozenset()
    """Words in the label column that stand for no label, as an empty one does."""
    labels: tuple[str, ...] = ()
    """Labels that are named: a word among them is one, whatever `unlabeled` says."""
    answers: Answers = "labels"
    """What the label column holds; among texts no word stands for "no label"."""
    dropped: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """(reason, part) to the places of the rows."""
    seen: dict[str, str] = field(default_factory=dict)
    """Ids of the user's own to the places of their rows."""

    @property
    def columns(self) -> Columns:
        """Which column holds what."""
        return self.needs.columns

    def sift(self, part: str, table: Table) -> list[Example]:
        """Turn the usable rows of one table into examples; their split is the part, for now."""
        texts, seconds = self._column(table, self.needs.text), self._column(table, self.needs.pair)
        groups = self._column(table, self.columns.group)
        images = None if self.needs.image is None else find_images(table, table.values[self.needs.image])
        kept: list[Example] = []
        for index, value in enumerate(table.values[self.columns.label]):
            origin = table.origin(index)
            content = Content(*(None if one is None else one[index] for one in (texts, seconds, images)))
            gold, fault = self._read_gold(value, origin)
            reason = content.judge(texts=self.needs.texts, image=images is not None) or fault
            if reason is not None:
                self.dropped[reason, part].append(origin)
                continue
            group = None if groups is None else read_label(groups[index], origin, self.columns.group or "")
            kept.append(content.make(self._identify(part, table, index), part, gold, origin, group))
        return kept

    def tell(self) -> tuple[Dropped, ...]:
        """Count what was left out, with the first few places."""
        return tuple(
            Dropped(reason, part, len(places), tuple(places[:SHOWN])) for (reason, part), places in self.dropped.items()
        )

    def require_usable(self, part: str, table: Table, limit: float) -> None:
        """Refuse a part that lost more than the allowed share of its rows."""
        lost = [one for one in self.tell() if one.split == part]
        share = sum(one.count for one in lost) / max(1, len(table))
        if share > limit:
            told = "; ".join(f"{one.count} {one.reason} ({_list(one)})" for one in lost)
            raise DataError(
                f"{share:.1%} of the {len(table)} rows of {table.name} cannot be used: {told}",
                allowed=f"at most {limit:.1%} (`data.drop_limit`)",
                remedy=self._remedy(lost, len(table)),
            )

    def _remedy(self, lost: list[Dropped], rows: int) -> str:
        """Say what to do about lost rows; what is most likely wrong first."""
        empty = sum(one.count for one in lost if one.reason == "no-answer")
        if empty:
            many = "every row" if empty == rows else f"{empty} rows"
            column = f"`data.columns.label` names the column `{self.columns.label}`, which is empty in {many}"
            return f"{column}: name the column of the answers, fill it, or raise the limit"
        listed = sorted(self.unlabeled.difference(self.labels))
        words = ", ".join(f"`{word}`" for word in listed)
        hint = any(one.reason == "unlabeled" for one in lost) and listed
        mend = f" (if {words} is a label of yours, take it off `data.unlabeled`)" if hint else ""
        return f"check `data.columns`, mend the rows, or raise the limit{mend}"

    @staticmethod
    def _column(table: Table, name: str | None) -> Sequence[object] | None:
        return None if name is None else table.values[name]

    def _read_gold(self, value: object, origin: str) -> tuple[str | None, str | None]:
        """Read the gold answer: (answer, None), or (None, why there is none)."""
        if self.answers == "texts":
            gold, missing = read_answer(value, origin), "no-answer"
        else:
            gold, missing = read_gold(value, origin, self.unlabeled, self.labels), "unlabeled"
        return gold, missing if gold is None else None

    def _identify(self, part: str, table: Table, index: int) -> str:
        """Return a row's id: its own, or the part and its place there."""
        if self.columns.id is None:
            return f"{part}:{table.key(index)}"
        origin = table.origin(index)
        own = read_label(table.values[self.columns.id][index], origin, self.columns.id)
        if own is None:
            raise DataError(f"{origin} has no id", remedy=f"fill `{self.columns.id}`, or leave out `columns.id`")
        if own in self.seen:
            raise DataError(
                f"{self.seen[own]} and {origin} have the same id",
                value=own,
                remedy="choose another `columns.id`, or leave it out",
            )
        self.seen[own] = origin
        return own


def read_gold(value: object, origin: str, unlabeled: Collection[str], labels: Collection[str]) -> str | None:
    """Read a gold label, or None where a word stands for "no label" and is not itself one of the labels."""
    gold = read_label(value, origin)
    return None if gold in unlabeled and gold not in labels else gold


def read_answer(value: object, origin: str) -> str | None:
    """Read a gold answer that is a text of any length or a number, or None where it is no usable text.

    Numbers are read as labels are (5 and 5.0 are `5`, -1 is `-1`); a text keeps all but the white space around it.
    """
    if isinstance(value, str):
        return value.strip() if judge_text(value) is None else None
    if value is None or isinstance(value, int | float):
        return read_label(value, origin)
    raise DataError(
        f"{origin}: an answer must be a text or a number",
        value=type(value).__name__,
        remedy="check `columns.label`; several answers a row are not supported",
    )


def read_label(value: object, origin: str, column: str | None = None) -> str | None:
    """Read a label as a word, or None: 1 and 1.0 are `1`, True is `true`, spaces around are dropped.

    With `column`, which messages name, it is an id or a group that is read.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value).strip() or None
    if column is not None:
        raise DataError(f"{origin}: `{column}` must hold a word or a number", value=type(value).__name__)
    raise DataError(
        f"{origin}: a label must be a word or a number",
        value=type(value).__name__,
        remedy="check `columns.label`; several labels a row are not supported",
    )


def _list(one: Dropped) -> str:
    return ", ".join(one.origins) + (", ..." if one.count > len(one.origins) else "")
