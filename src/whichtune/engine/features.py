"""What a frozen trunk makes of every row, computed once: a head that trains alone never runs the trunk again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from whichtune.engine.assembly import Assembly
from whichtune.engine.embedding import How, embed_rows
from whichtune.engine.trial import Material
from whichtune.layers.heads import TokenHead
from whichtune.measure.modes import modes
from whichtune.methods.contracts import Attachment, unchanged
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Encoded, EncodedRows
from whichtune.models.features import Features, FeatureTable
from whichtune.models.image_batch import EncodedImages
from whichtune.models.pair import ROLES, Pair
from whichtune.models.pair_batch import EncodedPairs


def trains_head_alone(assembly: Assembly) -> bool:
    """Whether what the head reads of a row is the same at every step: nothing below it is trained, added or moved."""
    attachment = assembly.attachment
    parts = list(attachment.parts.values()) or [attachment]
    return (
        not isinstance(assembly.head, TokenHead)
        and all(name.startswith("head.") for name in (*attachment.trained, *attachment.saved))
        and not attachment.matched
        and all(part.inputs is unchanged for part in parts)
    )


def with_features(assembly: Assembly, material: Material, size: int, precision: str, cache: Path) -> Material:
    """Return the material with every split's rows as features; they are kept and shared between trials and studies.

    `size` is the rows of a forward pass. Texts and images that stand in many rows are computed once.
    """
    encoded = {
        split: Features(
            tuple(_tables(assembly, rows, (size, precision), cache)), rows.targets, rows.lengths, rows.over_long
        )
        for split, rows in material.encoded.items()
    }
    return replace(material, encoded=encoded)


def _tables(assembly: Assembly, rows: EncodedRows, how: tuple[int, str], cache: Path) -> Iterator[FeatureTable]:
    """Yield the features of each encoder, in the order in which the head reads them."""
    if isinstance(assembly.backbone, Pair):
        assert isinstance(rows, EncodedPairs)  # noqa: S101 - what a pair reads
        for role in ROLES:
            backbone, attachment = assembly.backbone.parts[role], assembly.attachment.parts[role]
            yield _table(backbone, attachment, getattr(rows, role), how, cache)
        return
    assert isinstance(rows, Encoded | EncodedImages)  # noqa: S101 - what one encoder reads
    yield _table(assembly.backbone, assembly.attachment, rows, how, cache)


def _table(
    backbone: Backbone, attachment: Attachment, rows: Encoded | EncodedImages, how: tuple[int, str], cache: Path
) -> FeatureTable:
    size, precision = how
    distinct, places = (rows.distinct(), rows.places) if isinstance(rows, EncodedImages) else find_distinct(rows)
    way = How(0, attachment.pooling, normalise=False, batch_size=size, precision=precision)
    with modes((), backbone.trunk):
        return FeatureTable(embed_rows(backbone, distinct, way, cache), places)


def find_distinct(encoded: Encoded) -> tuple[Encoded, np.ndarray]:
    """Return each distinct row of ids once, in the order of its first place, and which of them each row is."""
    first: dict[bytes, int] = {}
    kept: list[int] = []
    places = np.empty(len(encoded), np.int64)
    for row in range(len(encoded)):
        span = slice(encoded.offsets[row], encoded.offsets[row + 1])
        segments = b"" if encoded.segments is None else encoded.segments[span].tobytes()
        own = encoded.tokens[span].tobytes() + b"|" + segments
        places[row] = first.setdefault(own, len(kept))
        if places[row] == len(kept):
            kept.append(row)
    return encoded.take(np.array(kept, np.int64)), places
