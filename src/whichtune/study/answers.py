"""What a finished trial answered, a row an entry, as CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from whichtune.data.reading import SUFFIXES
from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.atomic import write_text, writing
from whichtune.records.predictions import Predictions
from whichtune.report.csv_table import guard_cell, write_csv
from whichtune.study.new_rows import NewRows

Columns = dict[str, list[Any]]
_BREAKS = ("\t", "\r", "\n")


def lay_out_answers(rows: NewRows, answers: Predictions | None, *, gold: bool = False) -> Columns:
    """Put answers beside their rows: id, image, texts, answer, confidence, probabilities; empty where there is none.

    Where answers are written, the completion stands behind what was read off it; where they are no labels, there is no
    confidence.
    """
    found = iter(range(len(answers.ids)) if answers is not None else ())
    places = [None if one is None else next(found) for one in rows.examples]
    columns: Columns = {"id": list(rows.ids)}
    shown = any(image is not None for image in rows.images)
    if shown:
        columns["image"] = list(rows.images)
    if not shown or any(text is not None for text in rows.texts):
        columns["text"] = list(rows.texts)
    if any(pair is not None for pair in rows.pairs):
        columns["pair"] = list(rows.pairs)
    if gold:
        columns["gold"] = [None if one is None else one.gold for one in rows.examples]
    columns["prediction"] = _pick(places, None if answers is None else answers.parsed)
    if answers is not None and answers.raw is not None:
        columns["completion"] = _pick(places, answers.raw)
    if answers is None or answers.labels:
        columns["confidence"] = _pick(places, None if answers is None else answers.confidence.tolist())
    if gold:
        columns["loss"] = _pick(places, None if answers is None else answers.loss.tolist())
    if answers is not None and answers.probabilities is not None:
        shares = answers.probabilities.T.tolist()
        columns |= {
            f"probability_{label}": _pick(places, own) for label, own in zip(answers.labels, shares, strict=True)
        }
    columns["reason"] = list(rows.reasons)
    return columns


def _pick(places: Sequence[int | None], values: Sequence[Any] | None) -> list[Any]:
    return [None if place is None or values is None else _finite(values[place]) for place in places]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_writable(path: Path, read: str | Path) -> None:
    """Refuse a file without a known format, in a folder that is not there, or the file the rows are read from."""
    if path.resolve() == Path(read).resolve():
        raise DataError(f"--out {path}: the rows are read from it, and would be lost", remedy="give another file")
    if path.suffix.lower() not in SUFFIXES:
        near = did_you_mean(path.suffix.lower(), SUFFIXES)
        raise DataError(f"--out {path}: its format", value=path.suffix, allowed=", ".join(SUFFIXES), remedy=near)
    if not path.parent.is_dir():
        raise DataError(f"--out {path}: its folder does not exist", remedy="make the folder first")


def require_exact(path: Path, words: Iterable[str]) -> None:
    """Refuse a TSV for ids and labels it cannot give back, before anything is computed."""
    broken = next((word for word in words if any(mark in word for mark in _BREAKS)), None)
    if SUFFIXES[path.suffix.lower()] == "tsv" and broken is not None:
        told = f"--out {path}: TSV cannot hold an id or label with a tab or line break"
        raise DataError(told, value=broken, remedy="write .csv, .jsonl or .parquet")


def write_answers(path: Path, columns: Columns, *, spreadsheet: bool = False) -> None:
    """Write a table in the format of the file's name, under a temporary name first.

    Cells come back as they are, but for texts in a TSV, where a tab or line break becomes a space. With `spreadsheet`
    no cell of a CSV or TSV starts like a formula; such a file is for people, since its texts and labels are altered.
    """
    kind = SUFFIXES[path.suffix.lower()]
    if kind == "parquet":
        _write_parquet(path, columns)
        return
    if kind == "jsonl":
        write_text(path, "".join(f"{line}\n" for line in write_lines(columns)))
        return
    heads, rows = list(columns), list(zip(*columns.values(), strict=True))
    if spreadsheet:
        heads = [str(guard_cell(name)) for name in heads]
        rows = [tuple(map(guard_cell, row)) for row in rows]
    write_text(path, write_csv(heads, rows) if kind == "csv" else _write_tsv([heads, *rows]))


def write_lines(columns: Columns) -> list[str]:
    """Write a table as JSON, an object a row; what a row does not have is null."""
    return [
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
        for row in zip(*columns.values(), strict=True)
    ]


def describe_answer(answers: Predictions, place: int) -> Mapping[str, Any]:
    """Return one answer as plain values."""
    told: dict[str, Any] = {"prediction": answers.parsed[place]}
    if answers.raw is not None:
        told["completion"] = answers.raw[place]
    if answers.labels:
        told["confidence"] = _finite(float(answers.confidence[place]))
    if answers.probabilities is not None:
        told["probabilities"] = dict(zip(answers.labels, answers.probabilities[place].tolist(), strict=True))
    return told


def _write_tsv(rows: Iterable[Sequence[Any]]) -> str:
    """Tab-separated, a row a line and no quoting: a tab or line break inside a cell becomes a space."""
    return "".join("\t".join(map(_flatten, row)) + "\n" for row in rows)


def _flatten(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    for mark in _BREAKS:
        text = text.replace(mark, " ")
    return text


def _write_parquet(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = {"id", "image", "text", "pair", "gold", "prediction", "completion", "reason"}
    kinds = {name: pa.string() if name in words else pa.float32() for name in columns}
    table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
