"""What a study's examples hold beside their ids, read back without their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whichtune.records.folder import StudyFolder


def read_columns(folder: StudyFolder, names: Sequence[str], split: str | None = None) -> Mapping[str, list[Any]]:
    """Return columns of the examples, of one split or of all; nothing where the file is missing or unreadable.

    A column that an older file does not have is left out.
    """
    try:
        held = set(pq.read_schema(folder.examples).names)
        wanted = [name for name in names if name in held]
        rows = None if split is None else [("split", "=", split)]
        table = pq.read_table(folder.examples, columns=wanted, filters=rows)
    except (OSError, pa.ArrowException, KeyError):
        return {}
    return {name: table.column(name).to_pylist() for name in wanted}


def read_texts(folder: StudyFolder) -> Mapping[str, str]:
    """Return the texts of the study's examples by id."""
    held = read_columns(folder, ("id", "text"))
    if not {"id", "text"} <= held.keys():
        return {}
    return {row: text for row, text in zip(held["id"], held["text"], strict=True) if text is not None}
