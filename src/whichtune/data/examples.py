"""What a row becomes: an example with an id, its texts, its image and its gold answer; and the data set they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whichtune.errors import DataError
from whichtune.fetch.pictures import Picture

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One usable row.

    `id` is unique in its data set and depends on the row alone, never on order, batch or worker. `origin` says where
    the row stands (`reviews.csv:17`), for messages.
    """

    id: str
    split: str
    text: str
    """The text; empty where a row is an image alone."""
    gold: str | None
    """The label, or the answer as a text; None where it is not known, which only rows to be predicted may have."""
    origin: str
    pair: str | None = None
    """The second text, where a row has two."""
    group: str | None = None
    """What kind of row it is, where the source says so; predictions carry it."""
    image: Picture | None = None
    """The image, where rows have one."""


@dataclass(frozen=True)
class Dropped:
    """Rows left out for one reason, in one split: how many, and where the first few stand."""

    reason: str
    """`empty`, `unlabeled`, `no-answer`, `not-text`, `duplicate`, `no-image-file`, `not-an-image`, `broken-image`,
    `huge-image`."""
    split: str
    count: int
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Duplicates:
    """Texts that stand more than once: pairs of groups within a split or across two."""

    splits: tuple[str, str]
    """The two splits; the same name twice for duplicates within it."""
    exact: int
    """Rows of the first split with an exact copy (after case and white space) in the second; within one split, rows
    that repeat an earlier one."""
    near: int | None
    """Further rows of the first split with a near copy in the second, directly or through other copies; None where near
    copies are not looked for, as of images."""
    pairs: tuple[tuple[str, str], ...]
    """The origins of the first few."""


@dataclass(frozen=True)
class DataReport:
    """What was seen while reading: shown before a study and kept with it."""

    source: str
    """The source in words, with its resolved revision or hash."""
    balance: Mapping[str, Mapping[str, int]]
    """Split to label to rows; empty where gold are texts."""
    dropped: tuple[Dropped, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()
    encodings: Mapping[str, str] = field(default_factory=dict)
    """File to encoding, for those that are not UTF-8."""
    notes: tuple[str, ...] = ()
    """Anything else worth a line."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Split to rows."""


@dataclass(frozen=True)
class DataSet:
    """Examples by split, the labels in order, and a fingerprint of all of it."""

    examples: Mapping[str, tuple[Example, ...]]
    labels: tuple[str, ...]
    """Empty where gold are texts."""
    fingerprint: str
    """SHA-256 over ids, texts, gold, labels, groups and splits, in order."""
    report: DataReport


def second_texts(examples: Sequence[Example]) -> list[str]:
    """Return the second text of each example, or say which has none."""
    for example in examples:
        if example.pair is None:
            raise DataError(f"{example.origin} has no second text", remedy="name its column: `data.columns.pair`")
    return [str(example.pair) for example in examples]
