"""What one row holds: its texts and its image, each judged before it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whichtune.data.examples import Example
from whichtune.data.tables import Table
from whichtune.errors import DataError
from whichtune.fetch.pictures import Fault, Picture, find_inside, inspect_pictures

_NOTHING: Fault = "no-image-file"
ROOT = "`data.columns.image_root`"
"""How a study says where paths of images start."""


@dataclass(frozen=True, slots=True)
class Content:
    """The values of one row as they stand, None for what is not read."""

    text: object = None
    pair: object = None
    image: object = None
    """A picture that was inspected, or what is wrong with it."""

    def judge(self, *, texts: int, image: bool) -> str | None:
        """Return why a row with so many texts, and an `image` or none, cannot be used; None where it can."""
        reasons = [judge_text(text) for text in (self.text, self.pair)[:texts]]
        if image and not isinstance(self.image, Picture):
            reasons.append(str(self.image))
        return next((reason for reason in reasons if reason is not None), None)

    def make(self, identity: str, split: str, gold: str | None, origin: str, group: str | None = None) -> Example:
        """Make the example of a row that was judged usable."""
        text = "" if self.text is None else str(self.text)
        pair = None if self.pair is None else str(self.pair)
        image = self.image if isinstance(self.image, Picture) else None
        return Example(identity, split, text, gold, origin, pair, group, image)


def find_images(table: Table, cells: Sequence[object], way: str = ROOT) -> list[Picture | str]:
    """Inspect the image that each cell names, below the table's root; one that leads out of it is an error.

    Returns a picture, or why there is none. An empty cell, or one that is no path, is `no-image-file`. `way` is how
    another root is set, for that error.
    """
    paths: dict[str, str | None] = {}
    for index, cell in enumerate(cells):
        if isinstance(cell, str) and cell not in paths:
            paths[cell] = _locate(table, index, cell, way)
    named = list(dict.fromkeys(path for path in paths.values() if path is not None))
    found: dict[str | None, Picture | str] = dict(zip(named, inspect_pictures(list(map(Path, named))), strict=True))
    return [found.get(paths.get(cell), _NOTHING) if isinstance(cell, str) else _NOTHING for cell in cells]


def _locate(table: Table, index: int, cell: str, way: str) -> str | None:
    if not cell.strip() or "\0" in cell:
        return None
    if table.root is None:
        return cell
    path = find_inside(table.root, cell.strip())
    if path is None:
        raise DataError(
            f"{table.origin(index)}: the image leads out of the folder {table.root}",
            value=cell,
            remedy=f"name files below it, or set {way} to a folder that holds them all",
        )
    return str(path)


def judge_text(value: object) -> str | None:
    """Return why a value is no usable text (`empty`, `not-text`), or None; only what prints counts as something."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "empty"
    if not isinstance(value, str) or "\0" in value:
        return "not-text"
    # Zero-width characters and other marks alone are no text; nearly always the first character already settles it.
    return None if any(character.isprintable() for character in value.strip()) else "empty"
