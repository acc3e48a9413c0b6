"""Rows of which a frozen trunk has been asked already: what is left of them is what the head reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureTable:
    """Features of distinct inputs, and which of them each row has; several rows may ask about one image."""

    features: np.ndarray
    """[inputs, F] float32, memory-mapped."""
    places: np.ndarray
    """[rows] int64."""

    def read(self, rows: np.ndarray) -> Tensor:
        """Read the features of some rows from disk, [B, F]."""
        return torch.from_numpy(np.ascontiguousarray(self.features[self.places[rows]]))


@dataclass(frozen=True)
class Features:
    """What a head reads of each row: the features of one encoder, or of two side by side."""

    tables: tuple[FeatureTable, ...]
    targets: np.ndarray
    """[rows] int64; -1 where a row has none."""
    lengths: np.ndarray
    """[rows] int64: of the rows that the features were made of, so that batches stay the same."""
    over_long: tuple[int, ...] = ()
    """Rows that lost tokens before they became features."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def cut(self) -> int:
        """How many rows lost tokens."""
        return len(self.over_long)

    def take(self, rows: np.ndarray) -> Features:
        """Return some rows in the order given."""
        tables = tuple(FeatureTable(table.features, table.places[rows]) for table in self.tables)
        over_long = tuple(np.flatnonzero(np.isin(rows, self.over_long)).tolist())
        return Features(tables, self.targets[rows], self.lengths[rows], over_long)

    def collate(self, rows: Sequence[int] | np.ndarray) -> FeatureBatch:
        """Read the features of some rows."""
        chosen = np.asarray(rows, dtype=np.int64)
        features = torch.cat([table.read(chosen) for table in self.tables], dim=1)
        return FeatureBatch(chosen, features, torch.from_numpy(self.targets[chosen]), int(self.lengths[chosen].sum()))


@dataclass(frozen=True)
class FeatureBatch:
    """Features that a head is given."""

    rows: np.ndarray
    """[B] int64: indices into the encoded rows."""
    features: Tensor
    """[B, F] float32."""
    targets: Tensor
    """[B] int64."""
    tokens: int
    """Real rows that the features were made of."""

    def to(self, device: torch.device) -> FeatureBatch:
        """Move every tensor to a device."""
        return FeatureBatch(self.rows, self.features.to(device), self.targets.to(device), self.tokens)
