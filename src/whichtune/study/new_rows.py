"""Rows that a finished trial has not seen: read from a file or a folder of images, sifted, each kept in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from whichtune.data.cleaning import read_answer, read_gold, read_label
from whichtune.data.examples import Example
from whichtune.data.reading import Reading, read_file
from whichtune.data.rows import Content, find_images
from whichtune.data.sources.image_folder import list_images, read_classes
from whichtune.data.tables import Table
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.pictures import SUFFIXES

NEW = "new"


@dataclass(frozen=True)
class Wanted:
    """Which columns of a file are read; None for what is not."""

    text: str | None = "text"
    """None where rows are images alone; then a folder of them, a pattern or a single one serves as a file does."""
    label: str | None = None
    pair: str | None = None
    id: str | None = None
    must_have_id: bool = False
    """Whether a file without the id's column is refused; otherwise a row's place is its id there."""
    image: str | None = None
    """Column of paths of images."""
    image_root: Path | None = None
    """Folder they start at; that of the file when None."""

    def count_texts(self, *, two: bool) -> int:
        """Return how many texts a row has."""
        return 0 if self.text is None else 2 if two else 1


@dataclass
class NewRows:
    """Every row of a file: those that can be answered as examples, the others with the reason why not."""

    name: str
    ids: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    pairs: list[str | None] = field(default_factory=list)
    """Second texts, where rows have two."""
    images: list[str | None] = field(default_factory=list)
    """Paths of images as they were given, where rows have one."""
    examples: list[Example | None] = field(default_factory=list)
    """None for a row that cannot be answered."""
    reasons: list[str | None] = field(default_factory=list)
    """Why a row cannot be answered or scored: `empty`, `not-text`, `unlabeled`, `no-answer`, `no-image-file`,
    `not-an-image`, `broken-image`, `huge-image`."""
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
        """Add one row of texts; what is no text keeps its place."""
        content = Content(text, pair if two else None)
        self.put(identity, content, origin, reason=content.judge(texts=2 if two else 1, image=False), gold=gold)
        self.pairs[-1] = None if pair is None else str(pair)

    def put(self, identity: str, content: Content, origin: str, *, reason: str | None, gold: str | None) -> None:
        """Add one row, with the reason why it cannot be answered or None."""
        self.ids.append(identity)
        self.texts.append(None if content.text is None else str(content.text))
        self.pairs.append(None if content.pair is None else str(content.pair))
        self.images.append(None)
        self.reasons.append(reason)
        self.examples.append(content.make(identity, NEW, gold, origin) if reason is None else None)

    def drop(self, place: int, reason: str) -> None:
        """Take a row out of those that are answered."""
        self.examples[place], self.reasons[place] = None, reason


def read_rows(path: Path, columns: Wanted, how: Reading, *, two: bool) -> NewRows:
    """Read rows to be answered; without a column of ids the place in the file is the id."""
    table, columns = _read(path, columns, how, labelled=False)
    return _gather(table, columns, two=two, golds=None)


def read_labelled(
    path: Path, columns: Wanted, how: Reading, labels: Sequence[str] | None, unlabeled: Collection[str], *, two: bool
) -> NewRows:
    """Read rows with their labels, each of which the trial must know; rows without one are left out.

    Without `labels` gold are texts or numbers of any kind, and `unlabeled` does not count.
    """
    table, columns = _read(path, columns, how, labelled=True)
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
        content, flag = ("text", "--text") if columns.text is not None else ("an image", "--image")
        raise DataError(f"{table.name} has no row with {content} and {what}", remedy=f"check `{flag}` and `--label`")
    return rows


def _gather(table: Table, columns: Wanted, *, two: bool, golds: Sequence[str | None] | None) -> NewRows:
    rows = NewRows(table.name, encoding=table.encoding)
    texts = None if columns.text is None else _column(table, columns.text, "text")
    pairs = _column(table, columns.pair, "pair") if two else None
    cells = None if columns.image is None else _column(table, columns.image, "image")
    images = None if cells is None else find_images(table, cells, "`--image-root`")
    identities = None if columns.id is None else table.values.get(columns.id)
    if identities is None and columns.must_have_id:
        identities = _column(table, columns.id, "id")
    for place in range(len(table)):
        origin = table.origin(place)
        own = None if identities is None else read_label(identities[place], origin, columns.id)
        content = Content(*(None if one is None else one[place] for one in (texts, pairs, images)))
        reason = content.judge(texts=columns.count_texts(two=two), image=images is not None)
        rows.put(own or table.key(place), content, origin, reason=reason, gold=None if golds is None else golds[place])
        if cells is not None and cells[place] is not None:
            rows.images[-1] = str(cells[place])
    return rows


def _read(path: Path, columns: Wanted, how: Reading, *, labelled: bool) -> tuple[Table, Wanted]:
    """Read a file; or, where rows are images alone, a folder of them (of class folders, where they are labelled)."""
    alone = columns.image is not None and columns.text is None
    if alone and (path.is_dir() or is_pattern(path) or path.suffix.lower() in SUFFIXES):
        if labelled and path.is_dir():
            return read_classes(path), replace(columns, image="image", label="label", id=None, must_have_id=False)
        if labelled:
            raise DataError(f"{path}: images without labels", remedy="give a folder of class folders, or a table")
        return list_new_images(path), replace(columns, image="image", id=None, must_have_id=False)
    if path.suffix.lower() in SUFFIXES or (columns.image is not None and path.is_dir()):
        raise _misread(path, columns)
    root = path.parent if columns.image_root is None else columns.image_root
    return replace(read_file(path, how), root=root), columns


def _misread(path: Path, columns: Wanted) -> DataError:
    """Say that images alone are no rows for a trial that reads texts too, or texts only."""
    what = "is a folder" if path.is_dir() else "is an image"
    if columns.image is None:
        return DataError(f"{path} {what}, and the trial reads texts", remedy="give a table, such as a CSV of texts")
    told = f"{path} {what}, and the trial reads an image and a text in every row"
    remedy = "name both with `--image` and `--text` where they are called otherwise"
    return DataError(told, allowed=f"a table with columns `{columns.image}` and `{columns.text}`", remedy=remedy)


def list_new_images(path: Path) -> Table:
    """Return the images of a folder and all below it, those a pattern matches, or the one of that name."""
    if path.is_dir():
        root, names = path, list_images(path)
    elif is_pattern(path):
        plain = next(place for place, part in enumerate(path.parts) if is_pattern(Path(part)))
        root = Path(*path.parts[:plain])
        found = root.glob(str(Path(*path.parts[plain:])))
        names = sorted(one.relative_to(root).as_posix() for one in found if one.suffix.lower() in SUFFIXES)
    elif not path.exists():
        raise DataError(f"no file {path}", remedy=f"paths count from {Path.cwd()}" * (not path.is_absolute()))
    else:
        root, names = path.parent, [path.name]
    if not names:
        raise DataError(f"no images in {path}", allowed=f"files that end in {', '.join(SUFFIXES)}")
    return Table(root.resolve().name, ("image",), {"image": names}, range(1, len(names) + 1), root=root, keys=names)


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all files that it matches, and not for one."""
    return any(mark in str(path) for mark in "*?[") and not path.exists()


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
