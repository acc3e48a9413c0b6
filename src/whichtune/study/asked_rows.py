"""Rows that `prompt` asks about, and the labelled rows that its prompts may show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whichtune.data.examples import Example
from whichtune.data.load import load_data
from whichtune.data.reading import SUFFIXES, Reading, read_file
from whichtune.errors import DataError, SpecError, did_you_mean
from whichtune.spec.shorthand import COLUMNS, list_built_in
from whichtune.spec.sources import Columns, DataSpec
from whichtune.study.new_rows import NEW, NewRows, Wanted, read_labelled, read_rows
from whichtune.study.trying import Question

POOLS = {
    "statements": "statements",
    "problems": "word-problems",
    "inference": "nli-grammar",
    "summaries": "docstrings",
}
"""Wording to the built-in rows that can be shown with it."""
MOST_LABELS = 20
"""A column of more different words is no column of labels."""


@dataclass(frozen=True)
class File:
    """A file of rows, and its columns."""

    path: Path
    text: str = "text"
    label: str | None = None
    """The column that is named; `label` is read where it is there."""
    pair: str | None = None

    @property
    def tabular(self) -> bool:
        """Whether it has columns: other files hold a text a line."""
        return self.path.suffix.lower() in SUFFIXES

    def find_label(self) -> str | None:
        """Return the column of labels; None where there is none and none is named."""
        if not self.tabular:
            return None
        return self.label or ("label" if "label" in read_file(self.path).values else None)

    def list_labels(self) -> tuple[str, ...]:
        """Return the different words of the column of labels, in order; none where they are too many for that."""
        column = self.find_label()
        values = [] if column is None else read_file(self.path).values.get(column, [])
        found = {str(value).strip() for value in values if value is not None and str(value).strip()}
        return tuple(sorted(found)) if 1 < len(found) <= MOST_LABELS else ()


def name_rows(texts: Sequence[str], *, two: bool) -> tuple[Example, ...]:
    """Make rows of texts without labels; where rows have two texts, a tab parts them."""
    rows = NewRows("the command line")
    for place, text in enumerate(texts, start=1):
        first, tab, second = text.partition("\t") if two else (text, "", "")
        if two and not tab:
            remedy = "write both with a tab between them, or give a file and `--pair`"
            raise DataError(f"row {place} has no second text", value=text, remedy=remedy)
        rows.add(f"{place}", first, second if two else None, f"row {place}", two=two, gold=None)
        if rows.reasons[-1] is not None:
            raise DataError(f"row {place} is empty", value=text, remedy="write at least a word")
    return _apart(rows.usable)


def read_asked(file: File, question: Question) -> tuple[Example, ...]:
    """Read the rows of a file, with their labels where it has any."""
    rows = _read(file, question, file.find_label())
    if not rows.usable:
        raise DataError(f"{file.path} has no row with a text", remedy="check `--text`")
    return _apart(rows.usable)


def read_pool(word: str | None, question: Question, columns: File | None) -> tuple[Example, ...]:
    """Read the labelled rows that prompts may show: a file, or a built-in source by its name.

    Without a word those that go with the wording; raises SpecError where there are none.
    """
    name = word or POOLS.get(question.wording)
    if name is None:
        remedy = "name a file of them, or a built-in source, with `--examples`"
        raise SpecError("labelled rows are to be shown, and there are none to take them from", remedy=remedy)
    path = Path(name)
    if path.is_file():
        own = replace(columns or File(path), path=path)
        label = own.label or "label"
        return tuple(_read(own, question, label).usable)
    known = list_built_in()
    if name not in known:
        remedy = did_you_mean(name, known) or "check the path"
        raise SpecError("--examples", value=name, allowed=f"a file, or {', '.join(known)}", remedy=remedy)
    spec = DataSpec.model_validate({"source": {"kind": name}, "columns": Columns.model_validate(COLUMNS.get(name, {}))})
    pool = load_data(spec, "labels" if question.labels else "texts").examples["train"]
    _require_labels(name, pool, question.labels)
    return pool


def _read(file: File, question: Question, label: str | None) -> NewRows:
    two = question.columns.pair is not None
    if not file.tabular:
        told = f"{file.path}: a file of lines has no labels"
        raise DataError(told, allowed=", ".join(SUFFIXES), remedy="give a table with a column `label`")
    wanted = Wanted(text=file.text, label=label, pair=file.pair or ("pair" if two else None))
    if label is None:
        return read_rows(file.path, wanted, Reading(), two=two)
    return read_labelled(file.path, wanted, Reading(), question.labels or None, ("-", "-1"), two=two)


def _apart(rows: Iterable[Example]) -> tuple[Example, ...]:
    """Give rows ids that no row of a pool has: who is asked about is told from who is shown."""
    return tuple(replace(one, id=f"asked:{one.id}", split=NEW) for one in rows)


def _require_labels(name: str, pool: Sequence[Example], labels: Sequence[str]) -> None:
    odd = sorted({str(one.gold) for one in pool} - set(labels)) if labels else []
    if odd:
        told = f"--examples {name}: its labels are not those that are asked for"
        raise SpecError(told, value=", ".join(odd), allowed=", ".join(labels), remedy="give `--labels`, or other rows")
