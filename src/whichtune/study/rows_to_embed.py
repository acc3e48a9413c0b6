"""Rows of any data, for one encoder: the texts or the images of a file, a folder, a built-in set or a hub data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from whichtune.data.cleaning import read_label
from whichtune.data.examples import SPLITS, Example
from whichtune.data.needs import Needs
from whichtune.data.reading import SUFFIXES as TABLES
from whichtune.data.reading import read_file
from whichtune.data.rows import Content, find_images
from whichtune.data.sources.contract import WHOLE
from whichtune.data.sources.image_folder import list_images
from whichtune.data.sources.registry import read_source
from whichtune.data.tables import Table
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.fingerprint import fingerprint_file
from whichtune.fetch.pictures import SUFFIXES as IMAGES
from whichtune.models.towers import Reading
from whichtune.spec.shorthand import COLUMNS, TASKS, list_built_in, read_source_word
from whichtune.spec.sources import Columns, SourceSpec
from whichtune.study.new_rows import is_pattern, list_new_images

GIVEN: Mapping[str, str] = {"image-classification": "image", "visual-question-answering": "both"}
"""Task that a source is made for to what its rows hold, where that is not texts alone."""


@dataclass(frozen=True)
class Wish:
    """Which rows are embedded, and by which of their columns; None where nothing is said."""

    data: str
    """A file, a folder of images, a pattern, an image, or the word of a source."""
    text: str | None = None
    image: str | None = None
    label: str | None = None
    id: str | None = None
    image_root: Path | None = None
    """Folder that paths of images start at; that of the file when None."""
    splits: tuple[str, ...] = ()
    """Splits of the source that are wanted; all when empty."""


@dataclass
class Chosen:
    """The rows that can be embedded."""

    reads: Reading
    column: str
    source: str
    """The source in words, with its hash or revision."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """Split to its rows; `all` where the source is not split."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Why rows cannot be embedded, to how many."""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(map(len, self.examples.values()))


def choose_rows(wish: Wish) -> Chosen:
    """Read the rows that are wished for; those without a usable text or image are left out and counted."""
    if wish.text is not None and wish.image is not None:
        raise DataError("--text and --image: one encoder reads one of them", remedy="leave one out")
    source = read_source_word(wish.data)
    if source is None or (source["kind"] == "image-folder" and _is_flat(Path(wish.data).expanduser())):
        chosen, parts, label = _open_path(wish)
    else:
        chosen, parts, label = _open_source(wish, source)
    for part, table in _order(parts, wish.splits).items():
        chosen.examples[part] = _sift(chosen, part, table, replace(wish, label=label))
    if not chosen.rows:
        why = ", ".join(f"{count:,} {reason}" for reason, count in chosen.left_out.items()) or "no rows"
        remedy = f"check the column: `--{chosen.reads}`" if chosen.left_out else "give data with rows"
        raise DataError(f"{wish.data}: nothing to embed ({why})", remedy=remedy)
    return chosen


def _open_path(wish: Wish) -> tuple[Chosen, dict[str, Table], str | None]:
    """Read a file of rows, or list images: those of a folder, of a pattern, or one."""
    path = Path(wish.data).expanduser()
    if path.is_dir() or is_pattern(path) or path.suffix.lower() in IMAGES:
        if path.is_dir() and any(one.suffix.lower() in TABLES for one in path.iterdir()):
            read_file(path)  # which says that this is a folder, and what files it holds
        _refuse_column(wish, "text", "images alone")
        table = list_new_images(path)
        return Chosen("image", "image", f"{len(table):,} images of {path}"), {WHOLE: table}, None
    if not path.exists() and path.suffix.lower() not in TABLES:
        near = did_you_mean(wish.data, list_built_in())
        known = f"a file, a folder of images, or one of {', '.join(list_built_in())}"
        raise DataError(f"no such data: {wish.data}", allowed=known, remedy=near)
    table = read_file(path)
    reads, column = _choose_column(table.name, table.names, wish)
    if wish.image_root is not None and not wish.image_root.is_dir():
        raise DataError("--image-root: no such folder", value=str(wish.image_root), remedy="check the path")
    root = None if reads == "text" else path.parent if wish.image_root is None else wish.image_root
    label = wish.label or ("label" if "label" in table.names and column != "label" else None)
    for name, flag in ((column, reads), (label, "label"), (wish.id, "id")):
        _require_column(table, name, flag)
    source = f"{path.name} (sha256 {fingerprint_file(path)[:12]})"
    return Chosen(reads, column, source), {WHOLE: replace(table, root=root)}, label


def _open_source(wish: Wish, named: Mapping[str, Any]) -> tuple[Chosen, dict[str, Table], str | None]:
    """Read a source by its word; one whose rows hold both must be told which is meant."""
    kind = named["kind"]
    given = GIVEN.get(TASKS.get(kind, ""), "text") if kind != "hub" else "both"
    if given == "both" and wish.text is None and wish.image is None:
        raise DataError(
            f"{wish.data}: rows may hold texts and images", remedy="name one: `--text text`, `--image image`"
        )
    if given != "both":
        _refuse_column(wish, "text" if given == "image" else "image", f"{given}s alone")
    reads: Reading = "image" if given == "image" or wish.image is not None else "text"
    own = {"text": "text", "image": "image", "label": "label"} | dict(COLUMNS.get(kind, {}))
    own.pop("pair", None)
    asked = {"text": wish.text, "image": wish.image, "label": wish.label, "id": wish.id, "image_root": wish.image_root}
    # Made without the checks of a study: what is embedded may be the column of the answer.
    columns: Columns = cast(Any, Columns).model_construct(
        **{**own, **{name: value for name, value in asked.items() if value is not None}}
    )
    spec: SourceSpec = TypeAdapter[Any](SourceSpec).validate_python(_split_hub(named, wish.splits))
    found = read_source(spec, Needs(columns, reads))
    parts = dict(found.parts)
    if kind == "hub" and len(wish.splits) == 1:
        parts = {wish.splits[0]: parts["train"]}
    column = columns.image if reads == "image" else columns.text
    return Chosen(reads, column, found.source, notes=found.notes), parts, columns.label


def _split_hub(named: Mapping[str, Any], splits: Sequence[str]) -> Mapping[str, Any]:
    """Let the one split that is named be the only one that is looked for on the hub."""
    return {**named, "splits": {"train": splits[0]}} if named["kind"] == "hub" and len(splits) == 1 else named


def _choose_column(name: str, there: Sequence[str], wish: Wish) -> tuple[Reading, str]:
    """Return what of a file is read: the column that is named, else the one called `text` or `image`."""
    if wish.image is not None or wish.text is not None:
        return ("image", wish.image) if wish.image is not None else ("text", str(wish.text))
    found: list[Reading] = [word for word in ("text", "image") if word in there]
    if len(found) == 1:
        return found[0], found[0]
    told = "has a column of texts and one of images" if found else "has no column called text or image"
    raise DataError(f"{name} {told}", allowed=_list(there), remedy="name the one to embed: `--text` or `--image`")


def _require_column(table: Table, name: str | None, flag: str) -> None:
    if name is not None and name not in table.values:
        near = " ".join(filter(None, [did_you_mean(name, table.names), f"name it with `--{flag}`"]))
        raise DataError(f"{table.name} has no column `{name}`", allowed=_list(table.names), remedy=near)


def _refuse_column(wish: Wish, flag: str, what: str) -> None:
    value = getattr(wish, flag)
    if value is not None:
        raise DataError(f"--{flag}: {wish.data} holds {what}", value=value, remedy="leave it out")


def _order(parts: Mapping[str, Table], wanted: Sequence[str]) -> dict[str, Table]:
    """Return the splits that are wanted, training first, or say which there are."""
    for name in wanted:
        if name not in parts:
            raise DataError("--split", value=name, allowed=", ".join(parts), remedy=did_you_mean(name, parts))
    order = sorted(parts, key=lambda name: SPLITS.index(name) if name in SPLITS else -1)
    return {name: parts[name] for name in order if not wanted or name in wanted}


def _sift(chosen: Chosen, part: str, table: Table, wish: Wish) -> list[Example]:
    """Turn the usable rows of a table into examples, with ids as a study gives them."""
    image = chosen.reads == "image"
    cells = table.values[chosen.column]
    found = find_images(table, cells, "`--image-root`") if image else cells
    labels = None if wish.label is None else table.values.get(wish.label)
    own = None if wish.id is None else table.values.get(wish.id)
    kept: list[Example] = []
    for index, value in enumerate(found):
        origin = table.origin(index)
        content = Content(image=value) if image else Content(text=value)
        reason = content.judge(texts=0 if image else 1, image=image)
        if reason is not None:
            chosen.left_out[reason] += 1
            continue
        identity = None if own is None else read_label(own[index], origin, wish.id)
        gold = None if labels is None else read_label(labels[index], origin, wish.label)
        kept.append(content.make(identity or f"{part}:{table.key(index)}", part, gold, origin))
    _require_distinct([one.id for one in kept], f"{table.name}: two rows have the same id")
    return kept


def _require_distinct(ids: Sequence[str], told: str) -> None:
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(told, value=twice[0], remedy="choose another column: `--id`")


def _is_flat(folder: Path) -> bool:
    """Whether a folder holds images that are in no class folder."""
    names = list_images(folder)
    return not names or not all("/" in name for name in names)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
