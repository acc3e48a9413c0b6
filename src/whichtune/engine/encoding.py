"""Encode a data set once per tokenizer and length; the token ids are kept by content and shared between trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whichtune.data.examples import DataSet
from whichtune.fetch.atomic import writing
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.spec.digest import digest
from whichtune.tasks.contract import Task

ENCODING_VERSION = 2
"""Raised when the same texts would be encoded otherwise."""


def encode_splits(data: DataSet, task: Task, encoder: TextEncoder, max_length: int, cache: Path) -> dict[str, Encoded]:
    """Encode every split, or read what an earlier run encoded from the same texts with the same tokenizer."""
    return {split: _encode_split(data, split, task, encoder, (max_length, cache)) for split in data.examples}


def _encode_split(data: DataSet, split: str, task: Task, encoder: TextEncoder, where: tuple[int, Path]) -> Encoded:
    max_length, cache = where
    tokens = [encoder.fingerprint, encoder.vocabulary, encoder.max_positions, max_length]
    key = digest([ENCODING_VERSION, data.fingerprint, split, *tokens, list(task.labels), task.spec], 32)
    path = cache / "encoded" / f"{key}.npz"
    if path.is_file():
        return _read(path)
    encoded = task.encode(data.examples[split], encoder, max_length)
    _write(path, encoded)
    return encoded


def _write(path: Path, encoded: Encoded) -> None:
    columns = {
        "tokens": encoded.tokens,
        "offsets": encoded.offsets,
        "targets": encoded.targets,
        "over_long": np.array(encoded.over_long, np.int64),
    }
    if encoded.segments is not None:
        columns["segments"] = encoded.segments
    with writing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **columns)  # type: ignore[arg-type]


def _read(path: Path) -> Encoded:
    with np.load(path) as stored:
        segments = stored.get("segments")
        return Encoded(
            stored["tokens"], stored["offsets"], stored["targets"], segments, tuple(stored["over_long"].tolist())
        )
