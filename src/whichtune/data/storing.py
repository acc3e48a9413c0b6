"""The examples once, beside the records: a study can be read, probed and reported without its source."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from whichtune.data.examples import SPLITS, DataReport, DataSet, Example
from whichtune.errors import DataError
from whichtune.fetch.atomic import writing

COLUMNS = ("id", "split", "text", "gold", "origin", "pair", "group")
"""The fields of an example; second texts and groups are null where there are none."""


def write_examples(path: Path, data: DataSet) -> None:
    """Write every example with the labels and the fingerprint."""
    rows = [one for name in SPLITS for one in data.examples[name]]
    table = pa.table({column: pa.array([getattr(one, column) for one in rows], pa.string()) for column in COLUMNS})
    told = {"labels": json.dumps(data.labels), "fingerprint": data.fingerprint, "source": data.report.source}
    with writing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(told), temporary, compression="zstd")


def read_examples(path: Path) -> DataSet:
    """Read the examples back; what was seen while reading the source stands in the study's data.json."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable ({error})", remedy="run the study again") from error
    told = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if not set(COLUMNS) <= set(table.column_names) or not {"labels", "fingerprint", "source"} <= set(told):
        raise DataError(f"{path} holds no examples of a study", remedy="run the study again")
    rows: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for fields in table.select(list(COLUMNS)).to_pylist():
        rows[fields["split"]].append(Example(**fields))
    splits = {name: tuple(own) for name, own in rows.items()}
    report = DataReport(source=told["source"], balance={})
    return DataSet(splits, tuple(json.loads(told["labels"])), told["fingerprint"], report)
