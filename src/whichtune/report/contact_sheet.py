"""Confused rows as pictures: one line a pair of labels, a few small pictures on each, in one PNG."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from whichtune.fetch.atomic import writing
from whichtune.records.folder import StudyFolder
from whichtune.report.answers import show
from whichtune.report.confusion_model import ConfusedPair, ConfusedRow, Confusion
from whichtune.report.figures import count_of, format_percent
from whichtune.report.stored import read_columns

SIDE = 112
"""Pixels of a picture's place, each way."""
MARGIN = 12
TITLE = 230
"""Pixels of the column of labels."""
CAPTION_LINES = 3
CAPTION_CHARACTERS = 19
SMALL, PLAIN = 11, 15
"""Sizes of letters, in pixels."""
MOST_PIXELS = 4_000_000
"""A thumbnail beyond is not opened."""
NO_THUMBNAILS = "no pictures: examples.parquet holds no thumbnails of these rows"
_INK, _PALE, _GROUND, _EMPTY = "#1a1a1a", "#6a6a6a", "#ffffff", "#e6e6e6"
_LINE = SMALL + 3
_HEIGHT = SIDE + CAPTION_LINES * _LINE + MARGIN
_NOT_IN_NAMES = re.compile(r"[^\w.+@=,\[\]-]+")


def add_sheet(folder: StudyFolder, confusion: Confusion, split: str) -> None:
    """Draw the sheet of a confusion into the study's report folder, or note why there is none."""
    wanted = {row.id for pair in confusion.pairs for row in pair.rows}
    thumbnails = read_thumbnails(folder, split, wanted)
    if not thumbnails:
        confusion.note = NO_THUMBNAILS if wanted else ""
        return
    part = "" if split == "test" else f"{split}-"
    path = folder.report / f"confusion-{part}{_NOT_IN_NAMES.sub('_', confusion.candidate)}.png"
    with writing(path) as temporary:
        draw_sheet(confusion.candidate, confusion.pairs, thumbnails).save(temporary, "PNG")
    confusion.picture = str(path)


def read_thumbnails(folder: StudyFolder, split: str, wanted: set[str]) -> Mapping[str, bytes]:
    """Return the small pictures of some rows by id."""
    held = read_columns(folder, ("id", "thumbnail"), split)
    if not {"id", "thumbnail"} <= held.keys():
        return {}
    both = zip(held["id"], held["thumbnail"], strict=True)
    return {row: picture for row, picture in both if picture and row in wanted}


def draw_sheet(candidate: str, pairs: Sequence[ConfusedPair], thumbnails: Mapping[str, bytes]) -> Image.Image:
    """Draw a line a confused pair: its labels and counts, then its rows with their texts or origins."""
    columns = max((len(pair.rows) for pair in pairs), default=0)
    top = 3 * MARGIN + PLAIN
    size = (TITLE + columns * (SIDE + MARGIN) + 2 * MARGIN, top + len(pairs) * (_HEIGHT + MARGIN))
    sheet = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), f"Confused by {show(candidate)}", _INK, ImageFont.load_default(PLAIN))
    for place, pair in enumerate(pairs):
        start = top + place * (_HEIGHT + MARGIN)
        pen.line((MARGIN, start - MARGIN // 2, size[0] - MARGIN, start - MARGIN // 2), _EMPTY)
        _title(pen, (MARGIN, start), pair)
        for column, row in enumerate(pair.rows):
            corner = (TITLE + MARGIN + column * (SIDE + MARGIN), start)
            _place(sheet, corner, thumbnails.get(row.id))
            _caption(pen, (corner[0], start + SIDE + 4), row)
    return sheet


def open_thumbnail(held: bytes | None) -> Image.Image | None:
    """Open a small picture; None for one that is missing, damaged or far too large."""
    if held is None:
        return None
    try:
        with Image.open(io.BytesIO(held)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return None
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _place(sheet: Image.Image, corner: tuple[int, int], held: bytes | None) -> None:
    """Put a picture in the middle of its place: small ones are made larger with hard edges, large ones smaller."""
    picture = open_thumbnail(held)
    if picture is None:
        sheet.paste(_EMPTY, (*corner, corner[0] + SIDE, corner[1] + SIDE))
        return
    scale = SIDE / max(picture.size)
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    moved = (corner[0] + (SIDE - size[0]) // 2, corner[1] + (SIDE - size[1]) // 2)
    sheet.paste(picture.resize(size, way), moved)


def _title(pen: ImageDraw.ImageDraw, corner: tuple[int, int], pair: ConfusedPair) -> None:
    taken = "no readable answer" if pair.predicted is None else pair.predicted
    lines = [("true: ", pair.gold), ("taken for: ", taken)]
    height = corner[1]
    for head, label in lines:
        for part in textwrap.wrap(head + show(label, 48), 26) or [head]:
            pen.text((corner[0], height), part, _INK, ImageFont.load_default(PLAIN))
            height += PLAIN + 4
    told = f"{count_of(pair.count, 'answer')}, {format_percent(pair.share)} of this label's"
    pen.text((corner[0], height + 2), told, _PALE, ImageFont.load_default(SMALL))


def _caption(pen: ImageDraw.ImageDraw, corner: tuple[int, int], row: ConfusedRow) -> None:
    told = show(row.text or row.origin or row.id)
    lines = textwrap.wrap(told, CAPTION_CHARACTERS, max_lines=CAPTION_LINES, placeholder=" ...")
    for place, line in enumerate(lines):
        pen.text((corner[0], corner[1] + place * _LINE), line, _PALE, ImageFont.load_default(SMALL))
