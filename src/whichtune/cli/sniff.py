"""A first look at a file of rows: its columns, and which hold the text (or two) and the label.

The data floor reads it, as it will when a study runs; this only has to guess well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whichtune.errors import DataError, did_you_mean
from whichtune.fetch.pictures import SUFFIXES

if TYPE_CHECKING:
    from whichtune.data.reading import Reading

_MOST_ROWS = 100_000
"""Rows looked at; for the others the guess stands."""
_MOST_VALUES = 5_000
_LONGEST_LABEL_CHARS = 80
_TEXT_NAMES = ("text", "sentence", "review", "content", "body", "tweet", "comment", "message", "document", "title")
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "topic", "intent", "gold", "y")
_PAIR_NAMES = (
    ("premise", "hypothesis"), ("premise", "conclusion"), ("text", "pair"), ("question", "answer"),
    ("question", "sentence"), ("question", "passage"), ("query", "document"), ("query", "passage"),
    ("claim", "evidence"), ("context", "response"),
)  # fmt: skip
_SUMMARY_NAMES = ("summary", "highlights", "abstract", "tldr", "headline")
_NUMBER_NAMES = ("answer", "result", "solution", *_LABEL_NAMES)
_NUMBER = re.compile(r"[$€£]?[+-]?[\d,]*\.?\d+%?")
_MOST_RATINGS = 20
"""A column of so few numbers is a rating, which is a label."""


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
    numeric: int = 0
    """Values that are numbers."""
    asked: int = 0
    """Values that hold a question mark."""
    pictured: int = 0
    """Values that end like the name of an image."""
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
        self.numeric += _NUMBER.fullmatch(text.strip()) is not None
        self.asked += "?" in text
        self.pictured += text.strip().lower().endswith(SUFFIXES)
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
    answers: Literal["labels", "texts", "numbers"] = "labels"
    """What the label column holds; `labels` is empty where it is no labels."""
    image: str | None = None
    """The column of images, where rows have them; `text` is empty where they are images alone."""
    source: Mapping[str, Any] | None = None
    """The source of a study, where the rows are no file but a folder of images."""


def sniff(
    path: Path,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    how: Reading | None = None,
    in_words: bool = False,
) -> Sniffed:
    """Look at a file and tell which column is the text (long words) and which the label (few values).

    Rows have two texts where the columns' names say so (`premise` and `hypothesis`, `sentence1` and `sentence2`), or
    where exactly two columns hold long texts and neither is called one. `text`, `label` and `pair` name a column that
    is known already; with `text` alone there is one. `how` says how the file is read, where its name does not. With
    `in_words`, a column of summaries or of the numbers that questions ask for is looked for first. Raises DataError
    when there is no such column, or when none can be told.
    """
    columns, count = list_columns(path, how)
    _require_columns(path, columns, text, label, pair)
    named = (text, label, pair)
    columns = {name: one for name, one in columns.items() if name in named or not _is_pictured(one)} or columns
    found = _guess_in_words(columns, text, label) if in_words and pair is None else None
    if found is not None:
        return Sniffed(count, count < _MOST_ROWS, found[0], found[1], {}, None, found[2])
    if text is None and pair is None:
        text, pair = _guess_pair([column for name, column in columns.items() if name != label])
    text = text or _guess_text(path, [column for name, column in columns.items() if name not in (label, pair)])
    label = label or _guess_label(path, [column for name, column in columns.items() if name not in (text, pair)])
    return Sniffed(count, count < _MOST_ROWS, text, label, dict(columns[label].values.most_common()), pair)


def sniff_images(
    path: Path, *, image: str | None = None, label: str | None = None, how: Reading | None = None
) -> Sniffed | None:
    """Look at a folder, or at a file for a column of paths of images; None where its rows are texts.

    A file is one of images where a column is named as theirs, or where one holds such paths and none holds texts.
    """
    if path.is_dir():
        for flag, given in (("image", image), ("label", label)):
            if given is not None:
                told = f"--{flag}: a folder of images has no columns; its class folders are the labels"
                raise DataError(told, value=given, remedy="leave it out")
        return _sniff_folder(path)
    columns, count = list_columns(path, how)
    _require_columns(path, columns, image, label)
    own = [column for name, column in columns.items() if name != label]
    found = image or _guess_image(own)
    asked = next((column.name for column in own if 2 * column.asked > column.filled), None)
    if image is None and asked is not None and any(map(_is_pictured, own)):
        told = f"{path}: rows hold images, and questions in `{asked}`"
        remedy = "name what is read with --image or --text; questions about images are a task of their own, "
        raise DataError(told, remedy=f"{remedy}visual-question-answering (docs/images.md)")
    if found is None:
        return None
    label = label or _guess_label(path, [column for name, column in columns.items() if name != found])
    labels = dict(columns[label].values.most_common())
    return Sniffed(count, count < _MOST_ROWS, "", label, labels, image=found)


def _sniff_folder(path: Path) -> Sniffed | None:
    """Count the images of class folders; None where the folder holds files of rows."""
    from whichtune.data.sources.image_folder import read_classes
    from whichtune.spec.shorthand import read_source_word

    source = read_source_word(str(path))
    if source is None:
        return None
    tables = [read_classes(Path(folder)) for part, folder in source.items() if part != "kind"]
    labels = Counter(str(label) for table in tables for label in table.values["label"])
    return Sniffed(labels.total(), True, "", "label", dict(labels.most_common()), image="image", source=source)


def sniff_questions(
    path: Path,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    how: Reading | None = None,
) -> Sniffed:
    """Look at a file of questions about images: which column is the image, which the question, which the answer."""
    columns, count = list_columns(path, how)
    _require_columns(path, columns, image, text, label)
    shown = [name for name, column in columns.items() if _is_pictured(column)]
    image = image or next((name for name in shown if name not in (text, label)), None)
    if image is None:
        raise _cannot_tell(path, "image", columns.values())
    rest = [column for name, column in columns.items() if name != image]
    asked = [column.name for column in rest if 2 * column.asked > column.filled and column.name != label]
    text = text or (asked[0] if asked else _guess_text(path, [column for column in rest if column.name != label]))
    label = label or _guess_label(path, [column for column in rest if column.name != text])
    return Sniffed(count, count < _MOST_ROWS, text, label, dict(columns[label].values.most_common()), image=image)


def _require_columns(path: Path, columns: Mapping[str, Column], *named: str | None) -> None:
    for given in named:
        if given is not None and given not in columns:
            near = did_you_mean(given, columns)
            raise DataError(f"{path}: no column '{given}'", allowed=", ".join(columns), remedy=near)


def _is_pictured(column: Column) -> bool:
    """Whether a column holds paths of images."""
    return 2 * column.pictured > column.filled > 0


def _guess_image(columns: Sequence[Column]) -> str | None:
    """Return the column of paths of images, unless another one holds texts."""
    shown = [column for column in columns if _is_pictured(column)]
    worded = [column for column in columns if column not in shown and column.worded * 2 > column.filled > 0]
    texts = [
        one for one in worded if one.name.lower() in _TEXT_NAMES or (_is_long(one) and 2 * one.spaced > one.filled)
    ]
    return shown[0].name if shown and not texts else None


def list_columns(path: Path, how: Reading | None = None) -> tuple[dict[str, Column], int]:
    """Go through the first rows of a file; return its columns by name and the number of rows seen."""
    from whichtune.data.reading import Reading, read_file

    table = read_file(path, replace(how or Reading(), most_rows=_MOST_ROWS))
    if not len(table):
        raise DataError(f"{path}: no rows", remedy="give a file with a line of column names and rows under it")
    columns = {name: Column(name) for name in table.names}
    for name, values in table.values.items():
        for value in values:
            columns[name].see(value)
    return columns, len(table)


def _guess_in_words(
    columns: Mapping[str, Column], text: str | None, label: str | None
) -> tuple[str, str, Literal["texts", "numbers"]] | None:
    """Return text, answer and what the answers are, where they seem to be summaries or numbers that are asked for.

    A column of either kind counts where it is named as one, or by the user; ratings and labels beside it come first.
    """
    worded = [one for name, one in columns.items() if one.worded * 2 > one.filled > 0 and name != label]
    texts = [one for one in worded if one.name.lower() not in _SUMMARY_NAMES] if text is None else [columns[text]]
    source = max(texts, key=lambda one: one.mean_chars, default=None)
    question = max((one for one in texts if 2 * one.asked > one.filled), key=lambda one: one.mean_chars, default=None)
    if source is None:
        return None
    for answer in columns.values():
        named = answer.name == label if label is not None else _is_answer_name(answer, columns.values())
        if not named or answer is source or 2 * len(answer.values) <= min(answer.filled, 2 * _MOST_VALUES - 2):
            continue
        if 2 * answer.spaced > answer.filled and 20 <= answer.mean_chars < source.mean_chars:
            return source.name, answer.name, "texts"
        if question is not None and 2 * answer.numeric > answer.filled:
            return question.name, answer.name, "numbers"
    return None


def _is_answer_name(answer: Column, columns: Iterable[Column]) -> bool:
    name = answer.name.lower()
    if name in _NUMBER_NAMES and 2 * answer.numeric > answer.filled:
        return True
    return name in _SUMMARY_NAMES and not any(_is_label(column) for column in columns)


def _is_label(column: Column) -> bool:
    few = 2 <= len(column.values) <= _MOST_RATINGS and len(column.values) * 2 <= column.filled
    return few and (column.name.lower() in _LABEL_NAMES or 2 * column.numeric > column.filled)


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
