"""Rows that are an image and a text, each in the form that an encoder of its own reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whichtune.models.batch import Batch, Encoded
from whichtune.models.image_batch import EncodedImages, ImageBatch


@dataclass(frozen=True)
class EncodedPairs:
    """Images and texts of the same rows, in the same order."""

    image: EncodedImages
    text: Encoded

    def __len__(self) -> int:
        return len(self.text)

    @property
    def targets(self) -> np.ndarray:
        """[rows] int64; -1 where a row has none."""
        return self.text.targets

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64: rows that both trunks are given; an image is as long as any other, so texts decide."""
        return self.text.lengths + self.image.lengths

    @property
    def over_long(self) -> tuple[int, ...]:
        """Rows whose text lost tokens."""
        return self.text.over_long

    @property
    def cut(self) -> int:
        """How many rows lost tokens."""
        return self.text.cut

    def take(self, rows: np.ndarray) -> EncodedPairs:
        """Return some rows in the order given."""
        return EncodedPairs(self.image.take(rows), self.text.take(rows))

    def collate(self, rows: Sequence[int] | np.ndarray) -> PairBatch:
        """Put images and texts of some rows into a batch each."""
        return PairBatch(self.image.collate(rows), self.text.collate(rows))


@dataclass(frozen=True)
class PairBatch:
    """Images and texts of the same rows."""

    image: ImageBatch
    text: Batch

    @property
    def rows(self) -> np.ndarray:
        """[B] int64: indices into the encoded rows."""
        return self.text.rows

    @property
    def targets(self) -> Tensor:
        """[B] int64."""
        return self.text.targets

    @property
    def tokens(self) -> int:
        """Real rows that both trunks are given."""
        return self.image.tokens + self.text.tokens

    def to(self, device: torch.device) -> PairBatch:
        """Move every tensor to a device."""
        return PairBatch(self.image.to(device), self.text.to(device))
