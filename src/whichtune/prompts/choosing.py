"""Which training rows stand in a prompt: by hashing, so that neither order, batch nor worker matters.

A draw depends on the trial's streams, the pool's fingerprint and, where each row has its own, the row's id. A smaller
draw is the beginning of a larger one. A row is never its own example, nor is another row with the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, pairwise

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.spec.prompts import ShotsSpec
from whichtune.spec.seeds import Streams, derive_seed

Neighbours = Callable[[Example, int], Sequence[str]]
"""Takes a row and how many; returns the ids of so many pool rows, the nearest first, equally near ones by id."""
SPARE = 8
"""Examples drawn beyond those that are needed, to replace copies of a row."""


@dataclass(frozen=True)
class Pool:
    """Rows that may stand as examples, in an order of their own that the order given does not change."""

    rows: tuple[Example, ...]
    fingerprint: str
    """SHA-256 over ids, texts and labels, in the order of ids."""

    @cached_property
    def by_id(self) -> Mapping[str, Example]:
        """Id to row."""
        return {one.id: one for one in self.rows}

    @cached_property
    def by_label(self) -> Mapping[str, list[Example]]:
        """Label to rows, labels in the order in which they come up among the ids."""
        return _by_label(self.rows)


def make_pool(rows: Sequence[Example]) -> Pool:
    """Order rows by id and fingerprint them; rows without a label cannot stand as examples and are left out."""
    known = sorted((one for one in rows if one.gold is not None), key=lambda one: one.id)
    twins = [one.id for one, other in pairwise(known) if one.id == other.id]
    if twins:
        raise DataError("two rows of the pool of examples have the same id", value=twins[0])
    parts = (part for one in known for part in (one.id, one.text, one.pair or "", one.gold or ""))
    return Pool(tuple(known), fingerprint_texts(parts))


@dataclass(frozen=True)
class Chooser:
    """Chooses the examples of each row's prompt."""

    pool: Pool
    spec: ShotsSpec
    count: int
    streams: Streams
    neighbours: Neighbours | None = None
    """Needed by `nearest` alone."""

    def __post_init__(self) -> None:
        if self.count > len(self.pool.rows):
            raise DataError(
                f"{self.count} examples are asked for, the pool has {len(self.pool.rows)}",
                remedy="ask for fewer (`shots.count`), or give more training rows",
            )
        if self.count and self.spec.choice == "nearest" and self.neighbours is None:
            raise ValueError("`nearest` needs a function that finds neighbours")

    def fixed(self) -> tuple[Example, ...]:
        """Return the examples that stand in every prompt; none where each row has its own."""
        return tuple(islice(self._ranked(None), self.count)) if self.spec.choice == "fixed" else ()

    def choose(self, item: Example) -> tuple[Example, ...]:
        """Return the examples of one row, in the order in which they stand; the next of the draw replaces the row."""
        if not self.count:
            return ()
        others = (one for one in self._ranked(item) if not _same(one, item))
        chosen = tuple(islice(others, self.count))
        if len(chosen) < self.count:
            raise DataError(
                f"{item.origin}: {self.count} examples are asked for, the pool has {len(chosen)} besides the row",
                remedy="ask for fewer (`shots.count`), or give more training rows",
            )
        return chosen[::-1] if self.spec.choice == "nearest" else chosen

    def _ranked(self, item: Example | None) -> Iterator[Example]:
        """Yield the whole pool, first choices first."""
        if self.spec.choice == "nearest" and item is not None:
            return self._nearest(item)
        if self.spec.choice == "per-item" and item is not None:
            return self._drawn(item.id)
        return chain(self._front, islice(self._drawn(), len(self._front), None))

    @cached_property
    def _front(self) -> tuple[Example, ...]:
        """The beginning of the one draw of all rows: columns of very many labels are not laid out for each row."""
        return tuple(islice(self._drawn(), self.count + SPARE))

    def _drawn(self, *own: str) -> Iterator[Example]:
        """Yield the whole pool in an order by chance."""
        key = self.streams.derive("examples", self.pool.fingerprint, *own)
        if not self.spec.balanced:
            yield from _shuffled(self.pool.rows, key)
            return
        columns = [_shuffled(rows, derive_seed(key, label)) for label, rows in self.pool.by_label.items()]
        yield from _interleave(columns, key)

    def _nearest(self, item: Example) -> Iterator[Example]:
        """Yield rows by nearness; few are asked for first, all of them where copies of the row take their places."""
        assert self.neighbours is not None  # noqa: S101 - refused when the chooser is made
        by_id = self.pool.by_id
        if self.spec.balanced:
            near = [by_id[name] for name in self.neighbours(item, len(by_id))]
            yield from _interleave([iter(rows) for rows in _by_label(near).values()], None)
            return
        seen = 0
        for asked in (min(len(by_id), 2 * self.count + 8), len(by_id)):
            yield from (by_id[name] for name in self.neighbours(item, asked)[seen:])
            seen = asked


def _same(one: Example, other: Example) -> bool:
    return (one.id, one.split) == (other.id, other.split) or (
        one.text.strip() == other.text.strip() and (one.pair or "").strip() == (other.pair or "").strip()
    )


def _by_label(rows: Sequence[Example]) -> dict[str, list[Example]]:
    columns: dict[str, list[Example]] = {}
    for one in rows:
        columns.setdefault(one.gold or "", []).append(one)
    return columns


def _shuffled(rows: Sequence[Example], key: int) -> Iterator[Example]:
    """Yield rows in an order by hash, each draw in constant time (Fisher-Yates over a sparse permutation)."""
    moved: dict[int, int] = {}
    for place in range(len(rows)):
        drawn = place + derive_seed(key, place) % (len(rows) - place)
        chosen = moved.get(drawn, drawn)
        moved[drawn] = moved.get(place, place)
        yield rows[chosen]


def _interleave(columns: Sequence[Iterator[Example]], key: int | None) -> Iterator[Example]:
    """Yield one of each column in turn; with a key, each turn has an order of its own, so no label is always last."""
    left = dict(enumerate(columns))
    turn = 0
    while left:
        order = list(left) if key is None else sorted(left, key=lambda number: derive_seed(key, turn, number))
        for number in order:
            drawn = next(left[number], None)
            if drawn is None:
                del left[number]
            else:
                yield drawn
        turn += 1
