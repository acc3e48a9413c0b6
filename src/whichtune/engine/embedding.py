"""Embeddings by a frozen encoder, of texts or images: computed once, kept by all that decides them, memory-mapped.

F is the width of what the encoder's rows are pooled to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional

from whichtune.engine.assembly import run_attached
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.portions import go_through
from whichtune.errors import DataError, ModelError, NonFiniteError, did_you_mean
from whichtune.fetch.pictures import Picture
from whichtune.fetch.store import SHARD_ROWS, Rows, fill_store
from whichtune.measure.environment import read_version
from whichtune.methods.contracts import unchanged
from whichtune.models.backbone import POOLINGS, Backbone
from whichtune.models.batch import Batch, Encoded
from whichtune.models.image_batch import EncodedImages, ImageBatch
from whichtune.models.image_encoder import ImageEncoder
from whichtune.spec.digest import digest

EMBEDDING_VERSION = 2
"""Raised when the same rows would be embedded otherwise."""


@dataclass(frozen=True)
class How:
    """How a text becomes one row: mean over all rows and unit length is how sentence encoders are trained."""

    max_length: int
    """Tokens of a text that are read, special ones included; what stands behind them is cut. Nothing to images."""
    pooling: str = "mean"
    """`mean`, `first` or `last` of the hidden rows, or `default`, the family's own way."""
    normalise: bool = True
    """Whether rows have length 1, so that their product is the cosine."""
    batch_size: int = 32
    precision: str = "float32"
    """Type of the products, as `training.precision` names it."""

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            remedy = did_you_mean(self.pooling, POOLINGS)
            raise ModelError("pooling", value=self.pooling, allowed=", ".join(POOLINGS), remedy=remedy)
        if self.batch_size < 1:
            raise ModelError("batch_size", value=self.batch_size, allowed="at least 1")


def embed_texts(backbone: Backbone, texts: Sequence[str], how: How, cache: Path) -> np.ndarray:
    """Return one row a text, [texts, F] float32, memory-mapped and read-only; what is missing is computed first.

    The trunk must be as it was loaded, in eval mode and with nothing attached: its fingerprint names the file.
    """
    encoded = backbone.encoder.encode(texts, np.full(len(texts), -1), how.max_length)
    _refuse_nothing(encoded, texts)
    return embed_rows(backbone, encoded, how, cache)


def embed_pictures(backbone: Backbone, pictures: Sequence[Picture], how: How, cache: Path) -> np.ndarray:
    """Return one row an image, [pictures, F] float32; each distinct image is computed once and kept."""
    reader = backbone.reader
    if not isinstance(reader, ImageEncoder):
        raise ModelError("embedding of images", value=backbone.origin, remedy="name a backbone that reads images")
    encoded = reader.encode(pictures, np.full(len(pictures), -1))
    return embed_rows(backbone, encoded.distinct(), how, cache)[encoded.places]


def embed_rows(backbone: Backbone, encoded: Encoded | EncodedImages, how: How, cache: Path) -> np.ndarray:
    """Return one row for each that is encoded, [rows, F] float32, memory-mapped; what is missing is computed first.

    Rows are computed in fixed shards, in each of them batches of like length: the encoded rows and `how` alone decide
    every batch, so that a run that was stopped ends in the same bits.
    """
    if backbone.trunk.training:
        raise ValueError("the trunk is in train mode")
    place = cache / "embeddings" / f"{key_embeddings(backbone, encoded, how)}.npy"
    shape = (backbone.feature_width(how.pooling),)

    def compute(shard: range) -> np.ndarray:
        found = np.empty((len(shard), *shape), np.float32)

        def embed(rows: np.ndarray) -> None:
            found[rows - shard.start] = embed_batch(backbone, encoded.collate(rows), how)

        go_through(cut_rows(encoded, shard, how.batch_size), embed, backbone.device)
        return found

    return fill_store(place, Rows(len(encoded), shape, shard=SHARD_ROWS), compute)


def key_embeddings(backbone: Backbone, encoded: Encoded | EncodedImages, how: How) -> str:
    """Hash all that decides the embeddings of rows, down to the last bit where the same machine computes them."""
    config = cast(Any, backbone.trunk).config
    kinds = sorted({str(tensor.dtype) for tensor in backbone.trunk.parameters()})
    weights = [backbone.fingerprint, kinds, getattr(config, "_attn_implementation", None)]
    weights += ["unpads"] if backbone.unpads else []
    weights += ["narrows"] if backbone.narrows else []
    weights += ["widened"] if backbone.widened else []
    machine = [backbone.device.type, torch.get_float32_matmul_precision()]
    machine += [read_version(name) for name in ("torch", "transformers")]
    way = [how.max_length, how.pooling, how.normalise, how.batch_size, how.precision, SHARD_ROWS, EMBEDDING_VERSION]
    return digest([weights, backbone.reader.fingerprint, machine, way, encoded.fingerprint], 32)


def cut_batches(encoded: Encoded | EncodedImages, rows: range, size: int) -> Iterator[Batch | ImageBatch]:
    """Yield batches of some rows, of like length, longest first."""
    return (encoded.collate(some) for some in cut_rows(encoded, rows, size))


def cut_rows(encoded: Encoded | EncodedImages, rows: range, size: int) -> Iterator[np.ndarray]:
    """Yield some rows in batches, of like length, longest first."""
    order = np.argsort(-encoded.lengths[rows.start : rows.stop], kind="stable") + rows.start
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.inference_mode()
def embed_batch(backbone: Backbone, batch: Batch | ImageBatch, how: How) -> np.ndarray:
    """Embed the rows of one batch, [B, F] float32."""
    moved = batch.to(backbone.device)
    with Arithmetic(how.precision, backbone.device).forward():
        want = partial(backbone.looks_at, pooling=how.pooling)
        hidden, layout = run_attached(backbone, unchanged, moved, want, rowwise=True)
        rows = backbone.pool(hidden, layout, how.pooling).float()
    if not bool(torch.isfinite(rows).all()):
        raise NonFiniteError(f"{backbone.origin}: embeddings that are not numbers")
    return (functional.normalize(rows, dim=1) if how.normalise else rows).cpu().numpy()


def _refuse_nothing(encoded: Encoded, texts: Sequence[str]) -> None:
    """Refuse texts of which the tokenizer leaves no token: they have no row to pool."""
    bare = np.flatnonzero(encoded.lengths == 0)
    if len(bare):
        remedy = "leave empty texts out, or take an encoder whose tokenizer adds special tokens"
        raise DataError("a text without tokens cannot be embedded", value=repr(texts[bare[0]]), remedy=remedy)
