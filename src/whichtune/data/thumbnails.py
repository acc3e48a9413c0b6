"""Small pictures of the images, kept with a study so that its pages can show them without the source."""

from __future__ import annotations

import io
from collections.abc import Iterable

from whichtune.fetch.pictures import Picture, open_picture

LONGEST_SIDE = 96
"""Pixels of a thumbnail's longer side at most; smaller images stay as they are."""
_QUALITY = 85


def draw_thumbnails(pictures: Iterable[Picture]) -> dict[str, bytes]:
    """Return the thumbnail of each distinct image, by the image's hash."""
    return {one.sha256: draw_thumbnail(one) for one in {one.sha256: one for one in pictures}.values()}


def draw_thumbnail(picture: Picture) -> bytes:
    """Return a small image: PNG, without loss, where nothing is made smaller, otherwise JPEG."""
    image = open_picture(picture)
    small = max(image.size) <= LONGEST_SIDE
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    out = io.BytesIO()
    if small:
        image.save(out, "PNG", optimize=True)
    else:
        image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
