"""Predictions on disk: one row an example and split, as Parquet; every metric can be computed again from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whichtune.errors import RecordError
from whichtune.fetch.atomic import writing

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("group", pa.string()),
        ("gold", pa.string()),
        ("prompt_hash", pa.string()),
        ("raw", pa.string()),
        ("parsed", pa.string()),
        ("confidence", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("loss", pa.float32()),
        ("gold_rank", pa.int16()),
        ("tokens_in", pa.int32()),
        ("tokens_out", pa.int32()),
        ("batch_seconds", pa.float32()),
    ]
)
GREATEST_RANK = 32_767
"""Ranks beyond are kept as this one."""
TIMING_COLUMNS = ("batch_seconds",)


@dataclass
class Predictions:
    """The predictions of one trial on one split, column by column; all columns have one length.

    `probabilities` holds one row per example over the labels, or is None where there are too many labels to keep.
    `parsed` is None for an answer that could not be read; it counts as wrong.
    """

    split: str
    ids: list[str]
    gold: list[str | None]
    """None for a row without a gold label; such rows cannot be scored."""
    parsed: list[str | None]
    confidence: np.ndarray
    loss: np.ndarray
    probabilities: np.ndarray | None = None
    group: list[str | None] | None = None
    raw: list[str | None] | None = None
    prompt_hash: list[str | None] | None = None
    tokens_in: np.ndarray | None = None
    tokens_out: np.ndarray | None = None
    batch_seconds: np.ndarray | None = None
    """Share of its batch's forward time, seconds an example."""
    gold_rank: np.ndarray | None = None
    """int16: labels that stand before the gold one by their probability, 0 where it is the likeliest.

    Of equally likely labels the earlier one stands before the other, so that rank 0 is the predicted label. At most
    `GREATEST_RANK`. None where ranks are not known, as where a row has no gold label.
    """
    labels: tuple[str, ...] = field(default=())
    """Order of the probabilities; kept in the file's metadata."""


def write_predictions(path: Path, tables: list[Predictions]) -> None:
    """Write all splits of a trial into one file, under a temporary name first."""
    labels = tables[0].labels if tables else ()
    table = pa.concat_tables([_to_arrow(each) for each in tables]) if tables else SCHEMA.empty_table()
    table = table.unify_dictionaries().replace_schema_metadata({"labels": json.dumps(labels)})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path, split: str | None = None) -> dict[str, Predictions]:
    """Read the splits of a trial's predictions (or one of them), in the order they were written."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)  # of a few thousand rows: handing it to threads takes longer
    except (OSError, pa.ArrowInvalid) as error:
        raise RecordError(f"{path}: not a readable predictions file ({error})", remedy="run the study again") from error
    labels = tuple(json.loads((table.schema.metadata or {}).get(b"labels", b"[]")))
    splits = table.column("split").cast(pa.string())
    known = splits.unique().to_pylist()
    if len(known) == 1:
        return {known[0]: _from_arrow(table, known[0], labels)} if split in {None, known[0]} else {}
    return {
        name: _from_arrow(table.filter(pc.call_function("equal", [splits, pa.scalar(name)])), name, labels)
        for name in known
        if split is None or name == split
    }


def _to_arrow(own: Predictions) -> pa.Table:
    count = len(own.ids)
    blank: list[None] = [None] * count
    probabilities = blank if own.probabilities is None else list(own.probabilities.astype(np.float32))
    columns = [
        pa.array(own.ids, pa.string()),
        pa.array([own.split] * count).dictionary_encode().cast(SCHEMA.field("split").type),
        pa.array(own.group or blank, pa.string()),
        pa.array(own.gold, pa.string()),
        pa.array(own.prompt_hash or blank, pa.string()),
        pa.array(own.raw or blank, pa.string()),
        pa.array(own.parsed, pa.string()),
        pa.array(own.confidence, pa.float32()),
        pa.array(probabilities, pa.list_(pa.float32())),
        pa.array(own.loss, pa.float32()),
        pa.array(blank if own.gold_rank is None else own.gold_rank, pa.int16()),
        *(pa.array(blank if column is None else column, kind) for column, kind in _optional(own)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _optional(own: Predictions) -> list[tuple[np.ndarray | None, pa.DataType]]:
    return [(own.tokens_in, pa.int32()), (own.tokens_out, pa.int32()), (own.batch_seconds, pa.float32())]


def _from_arrow(table: pa.Table, split: str, labels: tuple[str, ...]) -> Predictions:
    listed = {name: _words(table, name) for name in ("id", "gold", "parsed", "group", "raw", "prompt_hash")}
    numbers = {
        name: _numbers(table, name) for name in ("confidence", "loss", "tokens_in", "tokens_out", "batch_seconds")
    }
    probabilities = table.column("probabilities")
    known = len(table) > 0 and probabilities.null_count == 0
    return Predictions(
        split=split,
        ids=listed["id"],
        gold=listed["gold"],
        parsed=listed["parsed"],
        confidence=_present(numbers["confidence"], len(table)),
        loss=_present(numbers["loss"], len(table)),
        probabilities=probabilities.combine_chunks().flatten().to_numpy().reshape(len(table), -1) if known else None,
        group=listed["group"],
        raw=listed["raw"],
        prompt_hash=listed["prompt_hash"],
        tokens_in=numbers["tokens_in"],
        tokens_out=numbers["tokens_out"],
        batch_seconds=numbers["batch_seconds"],
        gold_rank=_ranks(table),
        labels=labels,
    )


def _words(table: pa.Table, name: str) -> list[Any]:
    """Return a column of texts; one that holds none is not looked through."""
    column = table.column(name)
    return [None] * len(column) if column.null_count == len(column) else column.to_pylist()


def _numbers(table: pa.Table, name: str) -> np.ndarray | None:
    column = table.column(name)
    return None if column.null_count == len(column) else column.to_numpy()


def _ranks(table: pa.Table) -> np.ndarray | None:
    """Return the column of ranks; None where it is older than ranks are or a row has none."""
    column = table.column("gold_rank") if "gold_rank" in table.column_names else None
    return None if column is None or not len(column) or column.null_count else column.to_numpy()


def _present(values: np.ndarray | None, count: int) -> np.ndarray:
    return np.full(count, np.nan, np.float32) if values is None else values
