"""A first look at a file of rows, for `whichtune init`: its columns, and which hold the text (or two) and the label.

The real reading, with every check, is done by the data floor when a study runs; this only has to guess well.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from whichtune.errors import DataError, did_you_mean

_MOST_ROWS = 100_000
_MOST_VALUES = 5_000
_LONGEST_LABEL_CHARS = 80
_TEXT_NAMES = ("text", "sentence", "review", "content", "body", "tweet", "comment", "message", "document", "title")
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "gold", "y")
_PAIR_NAMES = (
    ("premise", "hypothesis"), ("premise", "conclusion"), ("text", "pair"), ("question", "answer"),
    ("question", "sentence"), ("question", "passage"), ("query", "document"), ("query", "passage"),
    ("claim", "evidence"), ("context", "response"),
)  # fmt: skip
_FORMATS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": "", ".parquet": ""}


@dataclass
class Column:
    """What was seen of one column."""

    name: str
    filled: int = 0
    chars: int = 0
    worded: int = 0
    """Values that hold a letter."""
    spaced: int = 0
    """Values of several words."""
    values: Counter[str] = field(default_factory=Counter)
    """How often each value stands; counting new ones stops at a few thousand."""

    def see(self, value: Any) -> None:
        """Count one value; empty ones are left out."""
        text = "" if value is None else str(value)
        if not text.strip():
            return
        self.filled += 1
        self.chars += len(text)
        self.worded += any(char.isalpha() for char in text)
        self.spaced += len(text.split()) > 1
        if text in self.values or len(self.values) < _MOST_VALUES:
            self.values[text] += 1

    @property
    def mean_chars(self) -> float:
        """Characters of a filled value, on average."""
        return self.chars / self.filled if self.filled else 0.0


@dataclass(frozen=True)
class Sniffed:
    """What a data file seems to hold."""

    rows: int
    whole: bool
    """Whether all rows were looked at."""
    text: str
    label: str
    labels: dict[str, int]
    """Label to rows, most frequent first."""
    pair: str | None = None
    """The second text, where rows seem to have two."""


def sniff(path: Path, *, text: str | None = None, label: str | None = None, pair: str | None = None) -> Sniffed:
    """Look at a file and tell which column is the text (long words) and which the label (few values).

    Rows have two texts where the columns' names say so (`premise` and `hypothesis`, `sentence1` and `sentence2`), or
    where exactly two columns hold long texts and neither is called one. `text`, `label` and `pair` name a column that
    is known already; with `text` alone there is one. Raises DataError when there is no such column, or when none can
    be told.
    """
    columns, count = list_columns(path)
    for given in (text, label, pair):
        if given is not None and given not in columns:
            near = did_you_mean(given, columns)
            raise DataError(f"{path}: no column '{given}'", allowed=", ".join(columns), remedy=near)
    if text is None and pair is None:
        text, pair = _guess_pair([column for name, column in columns.items() if name != label])
    text = text or _guess_text(path, [column for name, column in columns.items() if name not in (label, pair)])
    label = label or _guess_label(path, [column for name, column in columns.items() if name not in (text, pair)])
    return Sniffed(count, count < _MOST_ROWS, text, label, dict(columns[label].values.most_common()), pair)


def list_columns(path: Path) -> tuple[dict[str, Column], int]:
    """Go through the first rows of a file; return its columns by name and the number of rows seen."""
    columns: dict[str, Column] = {}
    count = 0
    for row in islice(_read_rows(path), _MOST_ROWS):
        count += 1
        for name, value in row.items():
            columns.setdefault(name, Column(name)).see(value)
    if not columns:
        raise DataError(f"{path}: no rows", remedy="give a file with a line of column names and rows under it")
    return columns, count


def _guess_pair(columns: Sequence[Column]) -> tuple[str, str] | tuple[None, None]:
    """Return the two columns that seem to be a pair of texts, the first one first."""
    worded = [column for column in columns if column.worded * 2 > column.filled > 0]
    for first in worded:
        for second in worded:
            names = first.name.lower(), second.name.lower()
            if names in _PAIR_NAMES or _differ_by_number(*names):
                return first.name, second.name
    long = [column for column in worded if _is_long(column) and column.spaced * 2 > column.filled]
    if len(long) == 2 and not any(column.name.lower() in _TEXT_NAMES for column in worded):
        return long[0].name, long[1].name
    return None, None


def _differ_by_number(first: str, second: str) -> bool:
    """Tell `sentence1` and `sentence2`, `text_a` and `text_b`; a bare `a` and `b` are no names of texts."""
    same = first[:-1] == second[:-1] and len(first.rstrip("12ab_")) > 1
    return same and (first[-1], second[-1]) in {("1", "2"), ("a", "b")}


def _is_long(column: Column) -> bool:
    return column.mean_chars >= 12 and 2 * len(column.values) > min(column.filled, 20)


def _guess_text(path: Path, columns: Iterable[Column]) -> str:
    worded = [column for column in columns if column.worded * 2 > column.filled > 0]
    named = [column for column in worded if column.name.lower() in _TEXT_NAMES]
    long = [column for column in worded if _is_long(column)]
    found = max(named or long, key=lambda column: column.mean_chars, default=None)
    if found is None:
        raise _cannot_tell(path, "text", columns)
    return found.name


def _guess_label(path: Path, columns: Iterable[Column]) -> str:
    few = [column for column in columns if 2 <= len(column.values) <= max(2, min(column.filled // 2, _MOST_VALUES - 1))]
    short = [column for column in few if column.mean_chars <= _LONGEST_LABEL_CHARS]
    named = [column for column in short if column.name.lower() in _LABEL_NAMES]
    found = min(named or short, key=lambda column: len(column.values), default=None)
    if found is None:
        raise _cannot_tell(path, "label", columns)
    return found.name


def _cannot_tell(path: Path, what: str, columns: Iterable[Column]) -> DataError:
    names = ", ".join(column.name for column in columns)
    return DataError(f"{path}: cannot tell which column is the {what}", allowed=names, remedy=f"name it with --{what}")


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise DataError(
            f"{path}: unknown format", value=suffix, allowed=", ".join(_FORMATS), remedy="rename or convert it"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such data file", remedy="give the path of a CSV, TSV, JSONL or Parquet file")
    if suffix == ".parquet":
        return _read_parquet(path)
    return _read_delimited(path, _FORMATS[suffix]) if _FORMATS[suffix] else _read_json_lines(path)


def _read_delimited(path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding=_guess_encoding(path), errors="replace", newline="") as handle:
        reader = csv.DictReader(handle, delimiter=delimiter)
        try:
            for row in reader:
                yield {name: value for name, value in row.items() if name is not None}
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not readable ({error})", remedy="check its quotes") from error


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding=_guess_encoding(path), errors="replace") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON ({error.msg})", remedy="write one object a line") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: not a JSON object", remedy="write one object a line")
            yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        batches = ParquetFile(path).iter_batches(batch_size=1000)
    except ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file", remedy="check that the file is whole") from error
    for batch in batches:
        yield from batch.to_pylist()


def _guess_encoding(path: Path) -> str:
    with path.open("rb") as handle:
        head = handle.read(1 << 18)
    try:
        head[: head.rfind(b"\n") + 1 or None].decode("utf-8-sig")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(head).best()
        return best.encoding if best is not None else "latin-1"
    return "utf-8-sig"
