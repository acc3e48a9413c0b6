"""What tuning left of what a model was good at: figures in a trial's record, rows in files, measured before and after.

A measure is named by a hash of its rows, of how they are asked, and of the weights as they are loaded: whatever of
these changes, the untouched model is measured again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from whichtune.errors import RecordError
from whichtune.fetch.atomic import writing

Kind = Literal["text-loss", "labels"]
METRICS: dict[Kind, str] = {"text-loss": "loss", "labels": "accuracy"}
"""What a kind of measure gives."""
SCHEMA = pa.schema([("id", pa.string()), ("total", pa.float64()), ("count", pa.int32())])


@dataclass(frozen=True)
class RetentionRows:
    """What one model made of each row; the value of the measure is the sum of totals by the sum of counts."""

    ids: list[str]
    totals: np.ndarray
    """[rows] float64: nats of all scored tokens, or 1 for a right answer and 0 for a wrong one."""
    counts: np.ndarray
    """[rows] int32: scored tokens, or 1."""
    cut: int = 0
    """Rows that lost tokens."""
    left_out: int = 0
    """Rows of fewer than two tokens, in which there is nothing to score."""

    @property
    def value(self) -> float:
        """Nats a token, or the share of right answers."""
        return float(self.totals.sum() / self.counts.sum())


class Kept(BaseModel):
    """Base of what is kept here: closed, as all records are."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class RetentionFigures(Kept):
    """One measure of one trial; a value that is not known is None and has a reason."""

    id: str
    """Names the measure with its rows and the weights; the same for all trials that may be compared."""
    kind: Kind
    before: float | None = None
    """Of the untouched backbone: nats a token, or the share of right answers."""
    after: float | None = None
    """Of the tuned model, as its predictions were made."""
    rows: int | None = None
    """Rows scored."""
    counted: int | None = None
    """Scored tokens of all rows, or the rows."""
    cut: int | None = None
    """Rows that lost tokens."""
    left_out: int | None = None
    """Rows of fewer than two tokens."""
    merged: bool | None = None
    """Whether the adapter was merged into the trunk."""
    reason: str | None = None
    """Why a value is None."""
    never: bool = False
    """The reason lies in the backbone: there is nothing to try again."""


class MeasuredText(Kept):
    """What a measure's rows are, and whether they are held out at all."""

    name: str
    """The user's name of the measure."""
    kind: Kind
    source: str
    """Where the rows come from, in words, with the resolved revision or hash."""
    rows: int
    """Rows drawn."""
    found: int
    """Usable rows that were drawn from."""
    empty: int
    """Rows left out since they hold no text, or nothing else that is needed."""
    trained_exactly: int = 0
    """Rows that stand among the training texts too."""
    trained_nearly: int = 0
    """Further rows that stand nearly so among them."""
    counted_for: str = ""
    """Names the rows and the training data that the copies were counted for, so that they are counted once."""


class MeasuredTexts(Kept):
    """`retention.json`: what all measures of a study are taken on."""

    texts: list[MeasuredText] = Field(default_factory=list)
    """One entry a measure."""


def write_rows(path: Path, rows: RetentionRows) -> None:
    """Write the rows of one measure of one model whole."""
    table = pa.table([pa.array(rows.ids), pa.array(rows.totals), pa.array(rows.counts, pa.int32())], schema=SCHEMA)
    table = table.replace_schema_metadata({"about": json.dumps({"cut": rows.cut, "left_out": rows.left_out})})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path) -> RetentionRows | None:
    """Read the rows of one measure of one model; None where there is no file."""
    if not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        about = json.loads((table.schema.metadata or {})[b"about"])
        columns = {name: table.column(name) for name in SCHEMA.names}
        return RetentionRows(
            ids=columns["id"].to_pylist(),
            totals=columns["total"].to_numpy(),
            counts=columns["count"].to_numpy(),
            cut=about["cut"],
            left_out=about["left_out"],
        )
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RecordError(f"{path}: not readable ({error})", remedy="delete it and run the study again") from error
