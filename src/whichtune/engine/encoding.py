"""Encode a data set once per reader and length; token ids are kept by content and shared between trials."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from whichtune.data.examples import DataSet
from whichtune.fetch.atomic import writing
from whichtune.models.batch import Encoded, EncodedRows
from whichtune.models.encoder import TextEncoder
from whichtune.spec.digest import digest
from whichtune.tasks.contract import Task, WrittenTask
from whichtune.tasks.reading import Reader

ENCODING_VERSION = 2
"""Raised when the same texts would be encoded otherwise."""


def encode_splits(data: DataSet, task: Task, reader: Reader, max_length: int, cache: Path) -> dict[str, EncodedRows]:
    """Encode every split, or read what an earlier run encoded from the same texts with the same tokenizer.

    Images are kept by their own content, whatever data set they stand in (`ImageEncoder.encode`).
    """
    if isinstance(reader, TextEncoder):
        return {split: _encode_split(data, split, task, reader, (max_length, cache)) for split in data.examples}
    return {split: task.encode(rows, reader, max_length) for split, rows in data.examples.items()}


def _encode_split(data: DataSet, split: str, task: Task, encoder: TextEncoder, where: tuple[int, Path]) -> EncodedRows:
    max_length, cache = where
    tokens = [encoder.fingerprint, encoder.vocabulary, encoder.max_positions, max_length]
    asked = [encoder.ends, None if encoder.chat is None else [encoder.chat.template, *encoder.chat.tokens]]
    written = [cast(WrittenTask, task).asking.recipe.fingerprint, *asked] if task.head().tokens else []
    key = digest([ENCODING_VERSION, data.fingerprint, split, *tokens, list(task.labels), task.spec, *written], 32)
    path = cache / "encoded" / f"{key}.npz"
    if path.is_file():
        return _read(path)
    encoded = task.encode(data.examples[split], encoder, max_length)
    assert isinstance(encoded, Encoded)  # noqa: S101 - a tokenizer makes nothing else
    _write(path, encoded)
    return encoded


def _write(path: Path, encoded: Encoded) -> None:
    columns = {
        "tokens": encoded.tokens,
        "offsets": encoded.offsets,
        "targets": encoded.targets,
        "over_long": np.array(encoded.over_long, np.int64),
    }
    optional = {"segments": encoded.segments, "starts": encoded.starts}
    columns |= {name: column for name, column in optional.items() if column is not None}
    with writing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **columns)  # type: ignore[arg-type]


def _read(path: Path) -> Encoded:
    with np.load(path) as stored:
        return Encoded(
            tokens=stored["tokens"],
            offsets=stored["offsets"],
            targets=stored["targets"],
            segments=stored.get("segments"),
            over_long=tuple(stored["over_long"].tolist()),
            starts=stored.get("starts"),
        )
