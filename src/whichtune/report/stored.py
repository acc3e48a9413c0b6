"""What a study keeps on disk, read back: predictions of its trials, columns of its examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions, read_predictions
from whichtune.records.trial import TrialRecord


def group_trials(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each candidate, candidates and trials in the order given."""
    grouped: dict[str, list[TrialRecord]] = {}
    for one in trials:
        grouped.setdefault(one.candidate, []).append(one)
    return grouped


def read_table(folder: StudyFolder, trial: str, split: str) -> Predictions | None:
    """Return what a trial predicted on a split; None where its file is gone or holds nothing of it."""
    path = folder.trial(trial).predictions
    return read_predictions(path, split).get(split) if path.is_file() else None


def read_columns(folder: StudyFolder, names: Sequence[str], split: str | None = None) -> Mapping[str, list[Any]]:
    """Return columns of the examples, of one split or of all; nothing where the file is missing or unreadable.

    A column that an older file does not have is left out.
    """
    try:
        with pq.ParquetFile(folder.examples) as file:
            wanted = [name for name in names if name in set(file.schema_arrow.names)]
            table = file.read(columns=[*wanted, *([] if split is None or "split" in wanted else ["split"])])
        if split is not None:
            table = table.filter(pc.call_function("equal", [table.column("split"), pa.scalar(split)]))
    except (OSError, pa.ArrowException, KeyError):
        return {}
    return {name: table.column(name).to_pylist() for name in wanted}


def read_texts(folder: StudyFolder) -> Mapping[str, str]:
    """Return the texts of the study's examples by id."""
    held = read_columns(folder, ("id", "text"))
    if not {"id", "text"} <= held.keys():
        return {}
    return {row: text for row, text in zip(held["id"], held["text"], strict=True) if text is not None}
