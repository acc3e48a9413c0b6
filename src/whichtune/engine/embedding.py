"""Embeddings of texts by a frozen encoder: computed once, kept by everything that decides them, memory-mapped.

H is the width of the encoder's hidden rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional

from whichtune.engine.store import SHARD_ROWS, fill_store
from whichtune.errors import DataError, ModelError, NonFiniteError, did_you_mean
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.measure.environment import read_version
from whichtune.models.backbone import POOLINGS, Backbone
from whichtune.models.batch import Batch, Encoded, collate
from whichtune.spec.digest import digest

EMBEDDING_VERSION = 1
"""Raised when the same texts would be embedded otherwise."""


@dataclass(frozen=True)
class How:
    """How a text becomes one row: mean over all rows and unit length is how sentence encoders are trained."""

    max_length: int
    """Tokens of a text that are read, special ones included; what stands behind them is cut."""
    pooling: str = "mean"
    """`mean`, `first` or `last` of the hidden rows, or `default`, the family's own way."""
    normalise: bool = True
    """Whether rows have length 1, so that their product is the cosine."""
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            remedy = did_you_mean(self.pooling, POOLINGS)
            raise ModelError("pooling", value=self.pooling, allowed=", ".join(POOLINGS), remedy=remedy)
        if self.batch_size < 1:
            raise ModelError("batch_size", value=self.batch_size, allowed="at least 1")


def embed_texts(backbone: Backbone, texts: Sequence[str], how: How, cache: Path) -> np.ndarray:
    """Return one row a text, [texts, H] float32, memory-mapped and read-only; what is missing is computed first.

    The trunk must be as it was loaded, in eval mode and with nothing attached: its fingerprint names the file.
    """

    def compute(rows: range) -> np.ndarray:
        return embed_shard(backbone, [texts[row] for row in rows], how)

    place = cache / "embeddings" / f"{key_embeddings(backbone, texts, how)}.npy"
    return fill_store(place, len(texts), backbone.hidden, compute)


def key_embeddings(backbone: Backbone, texts: Sequence[str], how: How) -> str:
    """Hash all that decides the embeddings of texts, down to the last bit where the same machine computes them."""
    config = cast(Any, backbone.trunk).config
    weights = [backbone.fingerprint, _dtype_of(backbone), getattr(config, "_attn_implementation", None)]
    machine = [backbone.device.type, torch.get_float32_matmul_precision()]
    machine += [read_version(name) for name in ("torch", "transformers")]
    way = [how.max_length, how.pooling, how.normalise, how.batch_size, SHARD_ROWS, EMBEDDING_VERSION]
    return digest([weights, backbone.encoder.fingerprint, machine, way, fingerprint_texts(texts)], 32)


def embed_shard(backbone: Backbone, texts: Sequence[str], how: How) -> np.ndarray:
    """Compute the rows of one shard's texts, [texts, H] float32; the texts alone decide the batches."""
    if backbone.trunk.training:
        raise ValueError("the trunk is in train mode")
    encoded = backbone.encoder.encode(texts, np.full(len(texts), -1), how.max_length)
    _refuse_nothing(encoded, texts)
    found = np.empty((len(texts), backbone.hidden), np.float32)
    for batch in cut_batches(encoded, how.batch_size):
        found[batch.rows] = embed_batch(backbone, batch, how)
    return found


def cut_batches(encoded: Encoded, size: int) -> Iterator[Batch]:
    """Yield batches of rows of like length, longest first."""
    order = np.argsort(-encoded.lengths, kind="stable")
    for start in range(0, len(order), size):
        yield collate(encoded, order[start : start + size])


@torch.no_grad()
def embed_batch(backbone: Backbone, batch: Batch, how: How) -> np.ndarray:
    """Embed the rows of one batch, [B, H] float32."""
    moved = batch.to(backbone.device)
    hidden = backbone.run(backbone.embed(moved), moved.layout, moved.segments)
    rows = backbone.pool(hidden, moved.layout, how.pooling).float()
    if not bool(torch.isfinite(rows).all()):
        raise NonFiniteError(f"{backbone.origin}: embeddings that are not numbers")
    return (functional.normalize(rows, dim=1) if how.normalise else rows).cpu().numpy()


def _refuse_nothing(encoded: Encoded, texts: Sequence[str]) -> None:
    """Refuse texts of which the tokenizer leaves no token: they have no row to pool."""
    bare = np.flatnonzero(encoded.lengths == 0)
    if len(bare):
        remedy = "leave empty texts out, or take an encoder whose tokenizer adds special tokens"
        raise DataError("a text without tokens cannot be embedded", value=repr(texts[bare[0]]), remedy=remedy)


def _dtype_of(backbone: Backbone) -> str:
    return str(backbone.module(backbone.anatomy.tokens).weight.dtype)
