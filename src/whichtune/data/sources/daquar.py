"""DAQUAR (Malinowski & Fritz 2014), reduced to 30 answers: three CSV files and a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whichtune.data.cleaning import read_label
from whichtune.data.needs import Needs
from whichtune.data.reading import read_file
from whichtune.data.sources.contract import Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError
from whichtune.fetch.fingerprint import fingerprint_file
from whichtune.spec.sources import DaquarSource

FILES = {"train": "new_data_train.csv", "validation": "new_data_val.csv", "test": "new_data_test.csv"}
SPELLINGS = {
    "text": ("question", "questions", "text"),
    "label": ("answer", "answers", "label"),
    "image": ("image_id", "imageid", "image", "img_id", "image_name"),
}
"""Our column to the names its column goes by, the usual one first; case, spaces and `-` do not count."""
_NUMBERING = ("", "index", "unnamed:_0", "id")
"""Columns that number the rows, which tables written with pandas have: passed over without a word."""
_SUFFIX = ".png"


def read_daquar(source: DaquarSource, needs: Needs) -> Rows:
    """Read the three files: columns `image`, `text` and `label`; columns that are not the usual ones are noted."""
    folder = source.folder.expanduser()
    images = (source.images or folder / "images").expanduser()
    if not images.is_dir():
        raise DataError(f"no folder of images: {images}", remedy="name it with `data.source.images`")
    notes: list[str] = []
    parts = {part: _read_part(folder / name, images, needs, notes) for part, name in FILES.items()}
    prints = ", ".join(f"{part} sha256 {fingerprint_file(folder / name)[:12]}" for part, name in FILES.items())
    return Rows(parts, f"daquar: {folder.name} ({prints}), Malinowski & Fritz 2014", tuple(notes))


def _read_part(path: Path, images: Path, needs: Needs, notes: list[str]) -> Table:
    table = read_file(path)
    found = {ours: _find(table, ours) for ours in SPELLINGS}
    other = [one for one in table.names if one not in found.values() and _plain(one) not in _NUMBERING]
    usual = {ours: spellings[0] for ours, spellings in SPELLINGS.items()}
    renamed = [f"`{name}` is read as `{usual[ours]}`" for ours, name in found.items() if name != usual[ours]]
    passed = [f"`{name}` is passed over" for name in other]
    if renamed or passed:
        notes.append(f"{path.name}: {', '.join([*renamed, *passed])}")
    whole: dict[str, Sequence[object]] = {ours: table.values[name] for ours, name in found.items()}
    whole["image"] = [_name_file(value, table.origin(place)) for place, value in enumerate(whole["image"])]
    chosen = choose_columns(path.name, tuple(whole), needs.names)
    values = {name: whole[name] for name in chosen}
    return Table(path.name, tuple(whole), values, table.places, table.encoding, root=images)


def _find(table: Table, ours: str) -> str:
    """Return the file's own name of a column."""
    by_plain = {_plain(name): name for name in reversed(table.names)}
    for spelling in SPELLINGS[ours]:
        if spelling in by_plain:
            return by_plain[spelling]
    raise DataError(
        f"{table.name} has no column `{SPELLINGS[ours][0]}`",
        allowed=", ".join(table.names),
        remedy="give the reduced set's own files, or use a `files` source and `data.columns`",
    )


def _name_file(value: object, origin: str) -> str | None:
    """Return the file of an image id; an id that already ends as a file does is one."""
    own = read_label(value, origin, SPELLINGS["image"][0])
    if own is None:
        return None
    return own if own.lower().endswith(_SUFFIX) else f"{own}{_SUFFIX}"


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
