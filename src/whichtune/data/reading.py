"""Files to tables: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from whichtune.data.decoding import decode
from whichtune.data.tables import Table, choose_columns
from whichtune.errors import DataError, did_you_mean
from whichtune.spec.sources import FileFormat

SUFFIXES: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
BATCH_ROWS = 10_000
"""Rows of a Parquet file that are read at once where only its beginning is wanted."""


@dataclass(frozen=True)
class Reading:
    """How files are read; see the fields of the same names of a files source."""

    format: FileFormat | None = None
    encoding: str | None = None
    header: bool = True
    most_rows: int | None = None
    """Rows read at most, from the first on; all when None."""


def read_file(path: Path, how: Reading | None = None, wanted: Sequence[str] | None = None) -> Table:
    """Read a file; `wanted` names the columns to keep (all when None), and a missing one is a fault."""
    how = how or Reading()
    check_file(path)
    return READERS[how.format or _format_of(path)](path, wanted, how)


def check_file(path: Path) -> None:
    """Refuse a path that is no file, with the nearest name there is."""
    if path.is_dir():
        files = [item.name for item in sorted(path.iterdir()) if item.suffix in SUFFIXES][:5]
        inside = f"it holds {', '.join(files)}" if files else "name a file in it"
        raise DataError(f"{path} is a folder, not a file", remedy=inside)
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise DataError(f"no file {path}", remedy=f"its folder {path.parent} does not exist")
    siblings = [item.name for item in path.parent.iterdir() if not item.name.startswith(".")]
    near = did_you_mean(path.name, siblings)
    raise DataError(f"no file {path}", remedy=near or f"paths count from {Path.cwd()}" * (not path.is_absolute()))


def _format_of(path: Path) -> FileFormat:
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        raise DataError(
            f"the format of {path.name} does not show in its name", value=path.suffix, allowed=", ".join(SUFFIXES),
            remedy="rename the file, or set `format` to csv, tsv, jsonl or parquet",
        )  # fmt: skip
    return known


def _read_csv(path: Path, wanted: Sequence[str] | None, how: Reading) -> Table:
    """Comma-separated, quoted as RFC 4180 says; strict, so that a lost quote is a fault and not a swallowed file."""
    text, encoding = decode(path.read_bytes(), path.name, how.encoding)
    return _read_delimited(path.name, _numbered(path.name, text), wanted, how, encoding)


def _read_tsv(path: Path, wanted: Sequence[str] | None, how: Reading) -> Table:
    """Tab-separated, a row a line and no quoting: a quotation mark is part of the text."""
    text, encoding = decode(path.read_bytes(), path.name, how.encoding)
    lines = ((number, line.split("\t")) for number, line in _lines(text))
    return _read_delimited(path.name, lines, wanted, how, encoding)


def _numbered(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV text, each with the line on which it starts."""
    before = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}:{start} is not valid CSV: {error}",
            remedy="check the quotation marks of that row; inside a field they are doubled",
        ) from None
    finally:
        csv.field_size_limit(before)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; only a line feed ends a line, so U+2028 stays text."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _read_delimited(
    name: str, rows: Iterator[tuple[int, list[str]]], wanted: Sequence[str] | None, how: Reading, encoding: str | None
) -> Table:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{name} is empty", remedy="give a file with rows")
    names = [field.strip() for field in first[1]] if how.header else [str(place) for place in range(len(first[1]))]
    _check_header(name, names)
    chosen = choose_columns(name, names, wanted)
    picks = [(names.index(column), column) for column in chosen]
    values: dict[str, list[object]] = {column: [] for column in chosen}
    places: list[int] = []
    ragged: list[tuple[int, int]] = []
    for line, fields in islice(rows if how.header else _again(first, rows), how.most_rows):
        if len(fields) != len(names):
            ragged.append((line, len(fields)))
            continue
        places.append(line)
        for index, column in picks:
            values[column].append(fields[index])
    if ragged:
        raise _ragged(name, ragged, len(names))
    return Table(name, tuple(names), dict(values), places, encoding)


def _again(first: tuple[int, list[str]], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rows


def _check_header(name: str, names: list[str]) -> None:
    twice = sorted({column for column in names if names.count(column) > 1 and column})
    if twice:
        raise DataError(
            f"{name} names a column twice", value=twice[0],
            remedy="rename one, or set `header: false` if the first line is a row",
        )  # fmt: skip


def _ragged(name: str, ragged: list[tuple[int, int]], expected: int) -> DataError:
    shown = ", ".join(f"{name}:{line} has {count}" for line, count in ragged[:5])
    more = f" and {len(ragged) - 5} more" if len(ragged) > 5 else ""
    return DataError(
        f"rows with another number of fields than the first line's {expected}: {shown}{more}",
        remedy="quote fields that hold a comma (CSV); take tabs and line breaks out of them (TSV has no quoting)",
    )


def _read_jsonl(path: Path, wanted: Sequence[str] | None, how: Reading) -> Table:
    text, encoding = decode(path.read_bytes(), path.name, how.encoding)
    rows: list[dict[str, object]] = []
    places: list[int] = []
    names: dict[str, None] = {}
    for number, line in islice(_lines(text), how.most_rows):
        row = _parse_line(path.name, number, line)
        names.update(dict.fromkeys(row))
        rows.append(row if wanted is None else {column: row.get(column) for column in wanted})
        places.append(number)
    if not rows:
        raise DataError(f"{path.name} is empty", remedy="give a file with rows")
    chosen = choose_columns(path.name, list(names), wanted)
    values = {column: [row.get(column) for row in rows] for column in chosen}
    return Table(path.name, tuple(names), dict(values), places, encoding)


def _parse_line(name: str, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        detail = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(
            f"{name}:{number} is not JSON: {detail}", remedy="JSONL holds one whole JSON object on each line"
        ) from None
    except RecursionError:
        raise DataError(
            f"{name}:{number} is nested too deeply", remedy="JSONL holds one plain object on each line"
        ) from None
    if not isinstance(row, dict):
        raise DataError(
            f"{name}:{number} holds a JSON {type(row).__name__}, not an object",
            remedy="JSONL holds one JSON object on each line",
        )
    return row


def _read_parquet(path: Path, wanted: Sequence[str] | None, how: Reading) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            chosen = choose_columns(path.name, names, wanted)
            content = _take(file, list(chosen), how.most_rows)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path.name} cannot be read as Parquet: {reason}", remedy="check the file and its `format`"
        ) from None
    values = {column: content.column(column).to_pylist() for column in chosen}
    return Table(path.name, names, dict(values), range(1, content.num_rows + 1))


def _take(file: pq.ParquetFile, columns: list[str], most_rows: int | None) -> pa.Table:
    if most_rows is None:
        return file.read(columns=columns)
    batches: list[pa.RecordBatch] = []
    for batch in file.iter_batches(batch_size=min(most_rows, BATCH_ROWS), columns=columns):
        batches.append(batch)
        if sum(len(one) for one in batches) >= most_rows:
            break
    whole = pa.Table.from_batches(batches) if batches else file.read(columns=columns)
    return whole.slice(0, most_rows)


READERS: dict[FileFormat, Callable[[Path, Sequence[str] | None, Reading], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}
