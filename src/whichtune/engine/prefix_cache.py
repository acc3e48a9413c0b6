"""The frozen prefix is run once a text: what its blocks make of every token is kept and read by all trials.

Kept in a memory-mapped file under all that decides it (weights, blocks, token ids, precision, machine), so that trials,
studies and a run that was killed share it; the operating system keeps in memory what fits. All files together stay
within a bound: the least recently used go first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from whichtune.engine.assembly import Assembly
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prefix import frozen_prefix
from whichtune.engine.trial import Material
from whichtune.errors import NonFiniteError
from whichtune.fetch.atomic import writing
from whichtune.fetch.cache import locked
from whichtune.layers.heads import TokenHead
from whichtune.measure.environment import read_version
from whichtune.measure.modes import modes
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Encoded
from whichtune.models.pair import Pair
from whichtune.models.prefix import PrefixTable, stopping_behind
from whichtune.spec.digest import digest

PREFIX_VERSION = 1
"""Raised when the same rows would be computed otherwise."""
FOLDER = "prefixes"


@dataclass(frozen=True)
class Keeping:
    """Where and how prefixes are kept."""

    cache: Path
    most_bytes: int
    """Bound of all files together."""
    batch: int
    """Rows of a forward pass."""
    precision: str


def count_replayed(assembly: Assembly) -> int:
    """Count the blocks that need not run again; 0 where the trunk reads no texts or shares its blocks."""
    backbone = assembly.backbone
    if isinstance(backbone, Pair) or backbone.anatomy.runs > 1 or not backbone.takes_rows:
        return 0
    return frozen_prefix(backbone, assembly.attachment)


def with_prefix(assembly: Assembly, material: Material, keeping: Keeping) -> tuple[Material, int]:
    """Return the material with every split's rows behind the frozen blocks, and how many blocks that are.

    0, and the material as it was, where there is no such block or the rows would not fit into the bound. Of a model
    that writes its answers only the training rows are kept: writing goes its own way.
    """
    blocks, backbone = count_replayed(assembly), assembly.backbone
    if blocks == 0:
        return material, 0
    splits = ("train",) if isinstance(assembly.head, TokenHead) else tuple(material.encoded)
    texts = {split: rows for split in splits if isinstance(rows := material.encoded[split], Encoded)}
    needed = sum(len(rows.tokens) for rows in texts.values()) * backbone.hidden * 4
    if not texts or needed > keeping.most_bytes:
        return material, 0
    if not returns_rows_alone(backbone, next(iter(texts.values())), blocks, keeping):
        return material, 0
    kept = {split: replace(rows, prefix=keep(backbone, rows, blocks, keeping)) for split, rows in texts.items()}
    return replace(material, encoded=material.encoded | kept), blocks


def keep(backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping) -> PrefixTable:
    """Return what the first blocks make of the tokens of texts; what is missing is computed first."""
    place = keeping.cache / FOLDER / f"{key_prefix(backbone, encoded, blocks, keeping)}.npy"
    rows = _open(place)
    while rows is None:
        with locked(place.parent / "room"):  # one process at a time: two would not know of each other's bytes
            if not place.is_file():
                make_room(place.parent, len(encoded.tokens) * backbone.hidden * 4, keeping.most_bytes)
                _compute(place, backbone, encoded, blocks, keeping)
            rows = _open(place)
    first = _run_one(backbone, encoded, blocks, keeping)
    beside = None if isinstance(first, Tensor) else len(first) - 1
    return PrefixTable(blocks, rows, encoded.offsets[:-1], beside, _rows_of(first).dtype)


def _open(place: Path) -> np.ndarray | None:
    """Map the rows and note that they were read; None where there are none, or another process just took them away."""
    try:
        os.utime(place)  # others go before it
        return np.load(place, mmap_mode="r")
    except FileNotFoundError:
        return None


def returns_rows_alone(backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping) -> bool:
    """Tell whether a block passes on nothing but its rows, so that they are all that has to be kept."""
    first = _run_one(backbone, encoded, blocks, keeping)
    return isinstance(first, Tensor) or all(one is None for one in first[1:])


def key_prefix(backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping) -> str:
    """Hash all that decides the rows: other weights, token ids or arithmetic have another file."""
    config = cast(Any, backbone.trunk).config
    kinds = sorted({str(tensor.dtype) for tensor in backbone.trunk.parameters()})
    weights = [backbone.fingerprint, kinds, getattr(config, "_attn_implementation", None)]
    weights += ["widened"] if backbone.widened else []
    machine = [backbone.device.type, torch.get_float32_matmul_precision()]
    machine += [read_version(name) for name in ("torch", "transformers")]
    return digest([PREFIX_VERSION, weights, machine, blocks, keeping.batch, keeping.precision, encoded.fingerprint], 32)


def make_room(folder: Path, needed: int, most_bytes: int) -> None:
    """Take the least recently used files away until so many more bytes fit into the bound.

    Whoever reads one of them goes on reading: a file that is mapped is gone when its last reader is.
    """
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):
            held = path.stat()
            files.append((held.st_mtime, held.st_size, path))
    kept = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if kept + needed <= most_bytes:
            return
        kept -= size
        path.unlink(missing_ok=True)


def _compute(place: Path, backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping) -> None:
    """Run the first blocks over all texts, those of like length together, into one file."""
    shape = (len(encoded.tokens), backbone.hidden)
    with writing(place) as temporary:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for batch, places, output in _run_prefix(backbone, encoded, blocks, keeping):
            rows = _rows_of(output)[batch.layout.real].float().cpu()
            if not bool(torch.isfinite(rows).all()):
                raise NonFiniteError(f"{backbone.origin}: hidden rows that are not numbers")
            whole[places] = rows.numpy()
        whole.flush()


def _run_prefix(
    backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping
) -> Iterator[tuple[Batch, np.ndarray, Any]]:
    """Yield each batch, the places of its tokens among all, and what the last frozen block returned, as it was."""
    order = np.argsort(-encoded.lengths, kind="stable")
    arithmetic = Arithmetic(keeping.precision, backbone.device)
    with modes((), backbone.trunk), torch.no_grad():
        for start in range(0, len(order), keeping.batch):
            batch = encoded.collate(order[start : start + keeping.batch])
            lengths = encoded.lengths[batch.rows]
            starts = encoded.offsets[batch.rows] - (np.cumsum(lengths) - lengths)
            moved = batch.to(backbone.device)
            with arithmetic.forward(), stopping_behind(backbone.blocks[blocks - 1]) as found:
                backbone.run(backbone.embed(moved), moved.layout, moved.segments)
            yield moved, np.arange(lengths.sum()) + np.repeat(starts, lengths), found[0]


def _run_one(backbone: Backbone, encoded: Encoded, blocks: int, keeping: Keeping) -> Any:
    """Return what the last frozen block returns of one text."""
    return next(_run_prefix(backbone, encoded.take(np.arange(1)), blocks, keeping))[2]


def _rows_of(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
