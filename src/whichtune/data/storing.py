"""The examples once, beside the records: a study can be read, probed and reported without its source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whichtune.data.examples import SPLITS, DataReport, DataSet, Example
from whichtune.data.thumbnails import draw_thumbnails
from whichtune.errors import DataError
from whichtune.fetch.atomic import writing
from whichtune.fetch.pictures import Picture

COLUMNS = ("id", "split", "text", "gold", "origin", "pair", "group")
"""The fields of an example; second texts and groups are null where there are none."""
IMAGE_COLUMNS = ("image", "image_sha256", "thumbnail")
"""Where rows have images: the file, its hash, and for test rows a small PNG or JPEG of it."""
_DICTIONARY_BYTES = 2**28
"""Room for the distinct thumbnails: rows that show one image share its bytes."""


def write_examples(path: Path, data: DataSet) -> None:
    """Write every example with the labels and the fingerprint."""
    rows = [one for name in SPLITS for one in data.examples[name]]
    columns: dict[str, Any] = {
        column: pa.array([getattr(one, column) for one in rows], pa.string()) for column in COLUMNS
    }
    if any(one.image is not None for one in rows):
        columns |= _lay_out_images(rows)
    table = pa.table(columns)
    told = {"labels": json.dumps(data.labels), "fingerprint": data.fingerprint, "source": data.report.source}
    with writing(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata(told),
            temporary,
            compression="zstd",
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
        )


def read_examples(path: Path) -> DataSet:
    """Read the examples back; what was seen while reading the source stands in the study's data.json."""
    try:
        schema = pq.read_schema(path)
        there = [column for column in (*COLUMNS, *IMAGE_COLUMNS[:2]) if column in schema.names]
        table = pq.read_table(path, columns=there)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable ({error})", remedy="run the study again") from error
    told = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if not set(COLUMNS) <= set(table.column_names) or not {"labels", "fingerprint", "source"} <= set(told):
        raise DataError(f"{path} holds no examples of a study", remedy="run the study again")
    rows: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for fields in table.to_pylist():
        where, print_ = fields.pop("image", None), fields.pop("image_sha256", None)
        image = None if where is None or print_ is None else Picture(where, print_)
        rows[fields["split"]].append(Example(**fields, image=image))
    splits = {name: tuple(own) for name, own in rows.items()}
    report = DataReport(source=told["source"], balance={})
    return DataSet(splits, tuple(json.loads(told["labels"])), told["fingerprint"], report)


def _lay_out_images(rows: Sequence[Example]) -> dict[str, Any]:
    images = [one.image for one in rows]
    drawn = draw_thumbnails(one.image for one in rows if one.split == "test" and one.image is not None)
    return {
        "image": pa.array([None if one is None else one.path for one in images], pa.string()),
        "image_sha256": pa.array([None if one is None else one.sha256 for one in images], pa.string()),
        "thumbnail": pa.array(
            [drawn[one.image.sha256] if one.split == "test" and one.image is not None else None for one in rows],
            pa.binary(),
        ),
    }
