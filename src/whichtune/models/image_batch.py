"""Images as a model is given them: kept on disk as bytes, turned into numbers a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from whichtune.models.layout import Layout, layout_of


@dataclass(frozen=True)
class Scaling:
    """What turns bytes into the numbers a model was trained on: (value x factor - mean) / deviation, a channel each."""

    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Scale [B, C, S, S] uint8 to float32."""
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, device=pixels.device).reshape(shape)
        deviation = torch.tensor(self.deviation, device=pixels.device).reshape(shape)
        return pixels.to(torch.float32, copy=True).mul_(self.factor).sub_(mean).div_(deviation)  # one batch, not four


@dataclass(frozen=True)
class EncodedImages:
    """Rows that show an image each; P images, of which several rows may show the same one."""

    pixels: np.ndarray
    """[P, C, S, S] uint8, memory-mapped: sized and cropped, not scaled yet."""
    places: np.ndarray
    """[rows] int64: which image a row shows."""
    targets: np.ndarray
    """[rows] int64; -1 where a row has none."""
    width: int
    """Hidden rows that the trunk makes of an image."""
    scaling: Scaling
    key: str = ""
    """Hash of what decides the pixels: the processor and the bytes of every image, in order."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64: hidden rows of each image, all alike."""
        return np.full(len(self), self.width, np.int64)

    @property
    def over_long(self) -> tuple[int, ...]:
        """Nothing is ever cut off for length."""
        return ()

    @property
    def cut(self) -> int:
        """Rows that lost something."""
        return 0

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels and of which row shows which image."""
        return sha256(self.key.encode() + np.ascontiguousarray(self.places).tobytes()).hexdigest()

    def distinct(self) -> EncodedImages:
        """Return every image once, as a row of its own without a target."""
        count = len(self.pixels)
        return replace(self, places=np.arange(count), targets=np.full(count, -1))

    def take(self, rows: np.ndarray) -> EncodedImages:
        """Return some rows in the order given; the images stay where they are."""
        return replace(self, places=self.places[rows], targets=self.targets[rows])

    def collate(self, rows: Sequence[int] | np.ndarray) -> ImageBatch:
        """Read the images of some rows from disk and lay them out."""
        chosen = np.asarray(rows, dtype=np.int64)
        pixels = torch.from_numpy(np.ascontiguousarray(self.pixels[self.places[chosen]]))
        layout = layout_of(torch.full((len(chosen),), self.width, dtype=torch.int64))
        return ImageBatch(chosen, self.scaling(pixels), torch.from_numpy(self.targets[chosen]), layout)


@dataclass(frozen=True)
class ImageBatch:
    """Images that a model is given."""

    rows: np.ndarray
    """[B] int64: indices into the encoded rows."""
    pixels: Tensor
    """[B, C, S, S] float32."""
    targets: Tensor
    """[B] int64."""
    layout: Layout

    def to(self, device: torch.device) -> ImageBatch:
        """Move every tensor to a device."""
        return ImageBatch(self.rows, self.pixels.to(device), self.targets.to(device), self.layout.to(device))

    @property
    def tokens(self) -> int:
        """Hidden rows of the batch."""
        return int(self.layout.real.sum())
