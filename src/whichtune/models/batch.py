"""Encoded rows, kept flat, and the batches collated from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from whichtune.models.layout import Layout, Side, layout_of
from whichtune.models.prefix import Prefix, PrefixTable


class Batched(Protocol):
    """What a model is given at once, whatever it reads."""

    @property
    def rows(self) -> np.ndarray:
        """[B] int64: indices into the encoded rows, so that outputs find their examples again."""
        ...

    @property
    def targets(self) -> Tensor:
        """[B] int64, or the token ids of answers."""
        ...

    @property
    def tokens(self) -> int:
        """Real rows that the trunk is given."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move every tensor to a device."""
        ...


class EncodedRows(Protocol):
    """Rows of a split in the form that a model reads: texts, images, or both."""

    def __len__(self) -> int: ...

    @property
    def targets(self) -> np.ndarray:
        """[rows] int64: a class index a row, or -1 where a row has none."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64: rows that the trunk is given of each; batches of like length are made by it."""
        ...

    @property
    def over_long(self) -> tuple[int, ...]:
        """Rows that were longer than allowed and lost tokens."""
        ...

    @property
    def cut(self) -> int:
        """How many rows lost tokens."""
        ...

    def collate(self, rows: Sequence[int] | np.ndarray) -> Batched:
        """Put some rows into one batch and lay it out."""
        ...

    def take(self, rows: np.ndarray) -> EncodedRows:
        """Return some rows in the order given."""
        ...


@dataclass(frozen=True)
class Encoded:
    """The token ids of many rows in one array, with the offset of each row: 4 bytes a token and no objects.

    `targets` holds a class index a row, or -1 where a row has none.
    """

    tokens: np.ndarray
    """[total tokens] int32."""
    offsets: np.ndarray
    """[rows + 1] int64: row i is tokens[offsets[i]:offsets[i + 1]]."""
    targets: np.ndarray
    """[rows] int64."""
    segments: np.ndarray | None = None
    """[total tokens] int8: segment of each token (0 first text, 1 second); None where the family has none."""
    over_long: tuple[int, ...] = ()
    """Rows that were longer than allowed and lost tokens."""
    starts: np.ndarray | None = None
    """[rows] int64: where in each row the answer begins, behind its prompt; None where rows hold no answer."""

    prefix: PrefixTable | None = None
    """What the first blocks of a trunk make of every token, where that is known and those blocks stay as they are."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def cut(self) -> int:
        """How many rows lost tokens."""
        return len(self.over_long)

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64: tokens of each row."""
        return np.diff(self.offsets)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over token ids, segments and where rows end."""
        sums = sha256()
        for column in (self.tokens, self.offsets, self.segments, self.starts):
            sums.update(b"none" if column is None else np.ascontiguousarray(column).tobytes())
        return sums.hexdigest()

    def collate(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Put rows into one padded batch and lay it out."""
        return collate(self, rows)

    def take(self, rows: np.ndarray) -> Encoded:
        """Return some rows in the order given."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        flat = np.arange(lengths.sum()) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Encoded(
            tokens=self.tokens[flat],
            offsets=offsets,
            targets=self.targets[rows],
            segments=None if self.segments is None else self.segments[flat],
            over_long=tuple(np.flatnonzero(np.isin(rows, self.over_long)).tolist()),
            starts=None if self.starts is None else self.starts[rows],
            prefix=None if self.prefix is None else self.prefix.take(rows),
        )

    def prompts(self) -> Encoded:
        """Return the rows without their answers."""
        if self.starts is None:
            return self
        kept = np.arange(len(self.tokens)) - np.repeat(self.offsets[:-1], self.lengths) < np.repeat(
            self.starts, self.lengths
        )
        offsets = np.concatenate([np.zeros(1, np.int64), self.starts.cumsum()])
        return replace(self, tokens=self.tokens[kept], offsets=offsets, starts=None, prefix=None)

    def answer(self, index: int) -> list[int]:
        """Token ids of one row's answer, the token that ends it included."""
        return [] if self.starts is None else self.row(index)[self.starts[index] :].tolist()

    def row(self, index: int) -> np.ndarray:
        """The token ids of one row."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class Batch:
    """What a model is given."""

    rows: np.ndarray
    """[B] int64: indices into the encoded rows, so that outputs find their examples again."""
    ids: Tensor
    """[B, W] int64: token ids; 0 on padding, which no one may read (see `layout`)."""
    segments: Tensor | None
    """[B, W] int64, or None."""
    targets: Tensor
    """[B] int64."""
    layout: Layout
    prefix: Prefix | None = None
    """What the first blocks make of it, where that is known: the pass begins behind them."""

    def to(self, device: torch.device) -> Batch:
        """Move every tensor to a device."""
        segments = None if self.segments is None else self.segments.to(device)
        prefix = None if self.prefix is None else self.prefix.to(device)
        return Batch(self.rows, self.ids.to(device), segments, self.targets.to(device), self.layout.to(device), prefix)

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return int(self.layout.real.sum())


def collate(encoded: Encoded, rows: Sequence[int] | np.ndarray, *, side: Side = "right") -> Batch:
    """Put rows into one padded batch and lay it out."""
    chosen = np.asarray(rows, dtype=np.int64)
    lengths = encoded.lengths[chosen]
    layout = layout_of(torch.from_numpy(lengths), side=side)
    starts = encoded.offsets[chosen] - (np.cumsum(lengths) - lengths)
    flat = np.arange(lengths.sum()) + np.repeat(starts, lengths)
    ids = torch.zeros(layout.real.shape, dtype=torch.int64)
    ids[layout.real] = torch.from_numpy(encoded.tokens[flat].astype(np.int64))
    segments = None
    if encoded.segments is not None:
        segments = torch.zeros_like(ids)
        segments[layout.real] = torch.from_numpy(encoded.segments[flat].astype(np.int64))
    prefix = None if encoded.prefix is None else encoded.prefix.read(chosen, layout)
    if encoded.starts is None:
        return Batch(chosen, ids, segments, torch.from_numpy(encoded.targets[chosen]), layout, prefix)
    layout = replace(layout, targets=mark_answers(layout, torch.from_numpy(encoded.starts[chosen])))
    return Batch(chosen, ids, segments, ids.roll(-1, dims=1)[layout.targets], layout, prefix)


def mark_answers(layout: Layout, starts: Tensor) -> Tensor:
    """Mark the rows whose next token belongs to the answer, [B, W] bool; the answer begins at `starts` [B]."""
    last = layout.lengths[:, None] - 1
    return layout.real & (layout.positions >= starts[:, None] - 1) & (layout.positions < last)
