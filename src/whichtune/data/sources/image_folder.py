"""Rows from images in folders, one folder a class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from whichtune.data.needs import Needs
from whichtune.data.sources.contract import WHOLE, Rows
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError
from whichtune.fetch.pictures import SUFFIXES
from whichtune.spec.sources import ImageFolderSource

_NAMES = ("image", "label")
_SHOWN = 5


@dataclass
class _Listing:
    """The images of one folder of classes, in an order that does not hang on the file system."""

    images: list[str] = field(default_factory=list)
    """Paths below the folder, with `/`."""
    stray: list[str] = field(default_factory=list)
    """Files passed over: beside the class folders, or with another suffix."""


def read_image_folder(source: ImageFolderSource, needs: Needs) -> Rows:
    """List the images of each part: columns `image` and `label`; what is no image by its name is noted."""
    named = {WHOLE: source.all, "train": source.train, "validation": source.validation, "test": source.test}
    folders = {part: path.expanduser() for part, path in named.items() if path is not None}
    _refuse_shared(folders)
    listings = {part: _list(folder) for part, folder in folders.items()}
    tables = {part: _table_of(folder, listings[part], needs.names) for part, folder in folders.items()}
    notes = [f"{folders[part].name}: {_describe(one.stray)}" for part, one in listings.items() if one.stray]
    words = ", ".join(f"{part} {folder.name} ({len(listings[part].images):,})" for part, folder in folders.items())
    return Rows(tables, f"image folders: {words}", tuple(notes))


def read_classes(folder: Path) -> Table:
    """Return the images of a folder of class folders with their labels."""
    return _table_of(folder, _list(folder), None)


def list_images(folder: Path) -> list[str]:
    """Return the paths of all images below a folder, by their suffix and relative to it, in the order of names."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", remedy="name a folder of images")
    return sorted((name for name in _walk(folder) if _is_image(name)), key=_order)


def _list(folder: Path) -> _Listing:
    if not folder.is_dir():
        told = "is a file" if folder.is_file() else "does not exist"
        raise DataError(f"the folder {folder} {told}", remedy="name a folder that holds a folder for each class")
    found = _Listing()
    for name in sorted(_walk(folder), key=_order):
        (found.images if "/" in name and _is_image(name) else found.stray).append(name)
    if not found.images:
        beside = any(_is_image(name) for name in found.stray)
        told = "no class folders, only images" if beside else "no images in class folders"
        raise DataError(
            f"{folder} holds {told}",
            allowed=f"files that end in {', '.join(SUFFIXES)}",
            remedy="put the images of each class into a folder with its name",
        )
    twins = [name for name, count in Counter(map(_compose, found.images)).items() if count > 1]
    if twins:
        raise DataError(f"{folder}: two files differ only in how accents are written", value=twins[0])
    return found


def _table_of(folder: Path, listing: _Listing, wanted: Sequence[str] | None) -> Table:
    chosen = choose_columns(folder.name, _NAMES, wanted)
    labels = [_compose(name.split("/", 1)[0]) for name in listing.images]
    whole: dict[str, Sequence[object]] = {"image": listing.images, "label": labels}
    places = range(1, len(labels) + 1)
    keys = [_compose(name) for name in listing.images]
    return Table(folder.name, _NAMES, {name: whole[name] for name in chosen}, places, root=folder, keys=keys)


def _walk(folder: Path) -> Iterator[str]:
    """Yield every file below a folder, relative to it; hidden ones are passed over, linked folders refused."""
    for where, folders, files in os.walk(folder):
        below = Path(where).relative_to(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (Path(where) / name).is_symlink():
                raise DataError(
                    f"{Path(where) / name} is a link to a folder",
                    remedy="put the folder itself there: images stay inside the folder that the source names",
                )
        for name in files:
            if not name.startswith("."):
                yield _require_text((below / name).as_posix())


def _require_text(name: str) -> str:
    """Return the name of a file, which stands in records as it is; one of bytes that are no text is refused."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError("the name of a file is not UTF-8", value=name, remedy="rename the file") from None
    return name


def _refuse_shared(folders: dict[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for part, folder in folders.items():
        if folder.resolve() in seen:
            raise DataError(f"`{seen[folder.resolve()]}` and `{part}` are the same folder", value=str(folder))
        seen[folder.resolve()] = part
    for inner, part in seen.items():
        for outer in inner.parents:
            if outer in seen:
                raise DataError(
                    f"the folder of `{part}` lies inside that of `{seen[outer]}`: its images would stand in both",
                    value=str(inner),
                    remedy="put the folders of the splits beside each other",
                )


def _describe(stray: Sequence[str]) -> str:
    more = ", ..." if len(stray) > _SHOWN else ""
    what = "file is" if len(stray) == 1 else "files are"
    return f"{len(stray)} {what} passed over (no image by the suffix, or in no class folder): " + (
        ", ".join(stray[:_SHOWN]) + more
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _compose(name: str) -> str:
    """Write accents as one character each: file systems differ in that."""
    return normalize("NFC", name)


def _order(name: str) -> tuple[str, str]:
    return _compose(name), name
