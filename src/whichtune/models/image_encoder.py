"""From image files to bytes of one size, as the model's own processor makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from whichtune.fetch.cache import cache_root
from whichtune.fetch.pictures import Picture, open_picture
from whichtune.fetch.store import Rows, fill_store
from whichtune.models.image_batch import EncodedImages, Scaling
from whichtune.spec.digest import digest

PIXELS_VERSION = 1
"""Raised when the same image would become other bytes."""
SHARD_IMAGES = 64
"""Images sized at a time: no more of them are held in memory at once."""


@dataclass(frozen=True)
class ImageEncoder:
    """How one model's images are made."""

    prepare: Callable[[Image], np.ndarray]
    """From an RGB image to [3, S, S] uint8: sized and cropped, not scaled yet."""
    side: int
    """S."""
    width: int
    """Hidden rows that the trunk makes of an image."""
    scaling: Scaling
    fingerprint: str
    """Hash of everything that decides the numbers: the processor's settings and the library that applies them."""
    max_positions: int | None = None
    """Rows a sequence may have; None: rows of images have no limit of their own."""

    @property
    def manners(self) -> str:
        """Nothing is asked in words."""
        return ""

    def encode(self, pictures: Sequence[Picture], targets: np.ndarray) -> EncodedImages:
        """Size every image once and keep it on disk; rows that show the same image share it."""
        unique = {one.sha256: one for one in pictures}
        order = sorted(unique)
        index = {print_: place for place, print_ in enumerate(order)}

        def compute(rows: range) -> np.ndarray:
            return np.stack([self.prepare(open_picture(unique[order[row]])) for row in rows])

        key = digest([PIXELS_VERSION, self.fingerprint, order], 32)
        rows = Rows(len(order), (3, self.side, self.side), "uint8", SHARD_IMAGES)
        return EncodedImages(
            pixels=fill_store(cache_root() / "pixels" / f"{key}.npy", rows, compute),
            places=np.array([index[one.sha256] for one in pictures], np.int64),
            targets=np.asarray(targets, np.int64),
            width=self.width,
            scaling=self.scaling,
            key=key,
        )
