"""Read CSV, TSV, JSONL and Parquet files into rows, and say exactly where a file is broken."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
DETECTED_BYTES = 1 << 20
"""How much of a file the encoding is guessed from."""


@dataclass(frozen=True)
class Row:
    """One row as it stands in a source, and where."""

    fields: dict[str, Any]
    origin: str


@dataclass
class Table:
    """The rows of one file or split."""

    columns: tuple[str, ...]
    rows: list[Row]
    encodings: dict[str, str] = field(default_factory=dict)
    """File to encoding, where it is not UTF-8."""


@dataclass(frozen=True)
class Reading:
    """How a file is to be read."""

    format: FileFormat | None = None
    encoding: str | None = None
    header: bool = True


def read_file(path: Path, how: Reading) -> Table:
    """Read one file."""
    _require_file(path)
    kind = how.format or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path}: format not known from its name",
            allowed=", ".join(SUFFIXES),
            remedy="say `format: csv` (tsv, jsonl, parquet)",
        )
    return READERS[kind](path, how)


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a file", remedy="name a file inside it")
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(f"{path}: no such file", remedy=did_you_mean(path.name, siblings) or "check the path")


def _read_csv(path: Path, how: Reading) -> Table:
    return _read_delimited(path, how, ",")


def _read_tsv(path: Path, how: Reading) -> Table:
    return _read_delimited(path, how, "\t")


def _read_delimited(path: Path, how: Reading, delimiter: str) -> Table:
    text, encodings = decode(path, how.encoding)
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = _number_lines(reader, path)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    columns = first[1] if how.header else [str(index) for index in range(len(first[1]))]
    _require_unique(columns, path)
    rows = [] if how.header else [_make_row(columns, first, path)]
    rows += [_make_row(columns, line, path) for line in lines if line[1]]
    return Table(tuple(columns), rows, encodings)


def _number_lines(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{start}: not valid CSV ({error})", remedy="check the quotes of this row"
            ) from error
        yield start, cells


def _make_row(columns: list[str], line: tuple[int, list[str]], path: Path) -> Row:
    number, cells = line
    if len(cells) != len(columns):
        raise DataError(
            f"{path}:{number}: the row has {len(cells)} cells, the file {len(columns)} columns",
            remedy="quote cells that contain the separator, or give the right `format`",
        )
    return Row(dict(zip(columns, cells, strict=True)), f"{path.name}:{number}")


def _require_unique(columns: list[str], path: Path) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: a column stands twice", value=", ".join(twice), remedy="give each column its own name"
        )


def _read_jsonl(path: Path, how: Reading) -> Table:
    text, encodings = decode(path, how.encoding)
    columns: dict[str, None] = {}
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON ({error.msg} at character {error.pos + 1})") from error
        if not isinstance(fields, dict):
            raise DataError(
                f"{path}:{number}: a {type(fields).__name__}, not an object", allowed="one JSON object a line"
            )
        columns.update(dict.fromkeys(fields))
        rows.append(Row(fields, f"{path.name}:{number}"))
    return Table(tuple(columns), rows, encodings)


def _read_parquet(path: Path, how: Reading) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({str(error)[:120]})") from error
    names = tuple(table.column_names)
    rows = [Row(fields, f"{path.name}:{number}") for number, fields in enumerate(table.to_pylist(), 1)]
    return Table(names, rows)


READERS: dict[str, Callable[[Path, Reading], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def decode(path: Path, encoding: str | None) -> tuple[str, dict[str, str]]:
    """Decode a text file: as told, else UTF-8 (with or without a mark), else as detected; a guess is reported."""
    content = path.read_bytes()
    if encoding is not None:
        return _decode_as(path, content, encoding), {} if _is_utf8(encoding) else {str(path): encoding}
    try:
        return content.decode("utf-8-sig"), {}
    except UnicodeDecodeError as error:
        found = _detect(content, error.start)
        if found is None:
            line = content[: error.start].count(b"\n") + 1
            raise DataError(
                f"{path}:{line}: byte {content[error.start]:#04x} is not UTF-8, and no encoding fits the file",
                remedy="say `encoding:` (latin-1, cp1252, utf-16, ...)",
            ) from error
        return _decode_as(path, content, found), {str(path): f"{found} (detected; say `encoding:` if it is another)"}


def _decode_as(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise DataError(
            f"{path}: no such encoding", value=encoding, allowed="utf-8, latin-1, cp1252, utf-16, ..."
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not valid {encoding}", remedy="give the file's real `encoding`") from error


def _detect(content: bytes, at: int) -> str | None:
    from charset_normalizer import from_bytes

    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    start = max(0, at - DETECTED_BYTES // 2)
    best = from_bytes(content[start : start + DETECTED_BYTES]).best()
    return None if best is None else best.encoding


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
