"""The rows of the split with what chosen candidates answered to them, packed for the example browser."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whichtune.errors import InputError, did_you_mean
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.report.figures import count_of, enumerate_words
from whichtune.report.model import CandidateRow, Comparison
from whichtune.report.stored import read_columns, read_table
from whichtune.report.verdict_model import Verdict

ROWS = 20_000
"""So many rows are kept at most."""
CANDIDATES = 6
"""So many candidates are kept where none are named."""
TEXT_CHARACTERS = 12_000_000
"""All texts together hold so many characters at most; each is cut to an equal share, but for the least length."""
LEAST_LENGTH, MOST_LENGTH = 200, 4_000
ANSWER_LENGTH = 1_000
PICTURE_BYTES = 16_000_000
"""All small pictures together hold so many bytes at most."""
MATCHED = {"accuracy", "exact_match"}
"""Metrics by which an answer is right or wrong."""
SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
COLUMNS = ("id", "text", "pair", "gold", "group", "origin", "image_sha256", "thumbnail")


@dataclass(frozen=True)
class Examples:
    """The browser's data, and what to say about them."""

    data: Mapping[str, Any]
    note: str


class Words:
    """A table of texts, each kept once."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        """Return where a text stands; -1 for none."""
        if text is None:
            return -1
        found = self._places.get(text)
        if found is None:
            found = self._places[text] = len(self.held)
            self.held.append(text)
        return found


def pack_examples(
    folder: StudyFolder, comparison: Comparison, verdict: Verdict | None = None, asked: Sequence[str] = ()
) -> Examples | None:
    """Return the rows of the split that is compared with the answers of chosen candidates; None without any.

    Without names those of the verdict, the best ones and the best baseline are chosen.
    """
    chosen = choose_candidates(comparison, verdict, asked)
    tables = {row.candidate: _read_tables(folder, row, comparison.split) for row in chosen}
    tables = {name: own for name, own in tables.items() if own}
    if not tables:
        return None
    first = next(iter(tables.values()))[0]
    ids = first.ids[:ROWS]
    held = _read_examples(folder, comparison.split, ids)
    length = max(LEAST_LENGTH, min(MOST_LENGTH, TEXT_CHARACTERS // max(1, 2 * len(ids))))
    words, groups = Words(), Words()
    matched = any(metric.name in MATCHED for metric in comparison.metrics)
    cut = sum(len(text or "") > length for name in ("text", "pair") for text in held[name])
    pictures, shown, left = _pack_pictures(held)
    data = {
        "ids": ids,
        "texts": [_cut(text, length) for text in held["text"]],
        "pairs": [_cut(text, length) for text in held["pair"]] if any(held["pair"]) else [],
        "origins": held["origin"] if any(held["origin"]) else [],
        "groups": [groups.place(group) for group in held["group"]] if any(held["group"]) else [],
        "groupNames": groups.held,
        "gold": [words.place(_cut(gold, ANSWER_LENGTH)) for gold in first.gold[:ROWS]],
        "matched": matched,
        "labels": bool(first.labels),
        "candidates": [_pack_candidate(name, own, ids, words) for name, own in tables.items()],
        "pictures": pictures,
        "shown": shown,
    }
    told = list(_tell(comparison, tables, len(first.ids), (cut, length), left))
    return Examples(data | {"words": words.held}, " ".join(told))


def choose_candidates(comparison: Comparison, verdict: Verdict | None, asked: Sequence[str]) -> list[CandidateRow]:
    """Return the named candidates, or those that a reader asks about first."""
    known = {row.candidate: row for row in comparison.candidates if row.trial_ids}
    for name in asked:
        if name not in known:
            raise InputError("--browse", value=name, allowed=", ".join(known), remedy=did_you_mean(name, known))
    if asked:
        return [known[name] for name in dict.fromkeys(asked)]
    named = [] if verdict is None else [verdict.recommended, verdict.guess]
    bars = [row.candidate for row in known.values() if row.baseline][:1]
    others = [row.candidate for row in known.values() if not row.baseline]
    wanted = [name for name in dict.fromkeys([*named, *others]) if name in known]
    return [known[name] for name in [*wanted[: CANDIDATES - len(bars)], *bars]]


def _read_tables(folder: StudyFolder, row: CandidateRow, split: str) -> list[Predictions]:
    found = (read_table(folder, trial, split) for trial in row.trial_ids)
    return [table for table in found if table is not None]


def _read_examples(folder: StudyFolder, split: str, ids: Sequence[str]) -> dict[str, list[Any]]:
    """Return the examples' columns in the order of the ids; None for what is not known."""
    held = read_columns(folder, COLUMNS, split)
    places = {identifier: place for place, identifier in enumerate(held.get("id", ()))}
    order = [places.get(identifier) for identifier in ids]
    blank: list[Any] = [None] * len(ids)
    return {
        name: [None if place is None else held[name][place] for place in order] if name in held else blank
        for name in COLUMNS
    }


def _pack_candidate(name: str, tables: Sequence[Predictions], ids: Sequence[str], words: Words) -> dict[str, Any]:
    """Pack the first training's answers and how many trainings are right; -2 marks a row it was never asked."""
    first = tables[0]
    places = {identifier: place for place, identifier in enumerate(first.ids)}
    order = [places.get(identifier) for identifier in ids]
    read = [-2 if place is None else words.place(_cut(first.parsed[place], ANSWER_LENGTH)) for place in order]
    right = dict.fromkeys(ids, 0)
    for table in tables:
        for identifier, gold, parsed in zip(table.ids, table.gold, table.parsed, strict=True):
            if identifier in right and parsed is not None and parsed == gold:
                right[identifier] += 1
    raw = first.raw if first.raw is not None and any(each is not None for each in first.raw) else None
    return {
        "name": name,
        "trainings": len(tables),
        "read": read,
        "right": [right[identifier] for identifier in ids],
        "raw": [] if raw is None else [words.place(_cut(_at(raw, place), ANSWER_LENGTH)) for place in order],
    }


def _at(values: Sequence[str | None], place: int | None) -> str | None:
    return None if place is None else values[place]


def _pack_pictures(held: Mapping[str, Sequence[Any]]) -> tuple[list[str], list[int], int]:
    """Return each distinct picture once as a data address, the place of each row's own, and rows left without."""
    places: dict[Any, int] = {}
    pictures: list[str] = []
    shown: list[int] = []
    spent = left = 0
    for key, picture in zip(held["image_sha256"], held["thumbnail"], strict=True):
        kind = None if not picture else _kind(picture)
        own = key or picture
        if kind is not None and own not in places and spent + len(picture) <= PICTURE_BYTES:
            places[own], spent = len(pictures), spent + len(picture)
            pictures.append(f"data:{kind};base64,{base64.b64encode(picture).decode()}")
        shown.append(places.get(own, -1) if kind is not None else -1)
        left += kind is not None and shown[-1] < 0
    return pictures, shown if pictures else [], left


def _kind(picture: bytes) -> str | None:
    return next((kind for start, kind in SIGNATURES.items() if picture.startswith(start)), None)


def _cut(text: str | None, length: int) -> str | None:
    return text if text is None or len(text) <= length else f"{text[:length]} …"


def _tell(
    comparison: Comparison, tables: Iterable[str], rows: int, cuts: tuple[int, int], pictureless: int
) -> Iterator[str]:
    kept = min(rows, ROWS)
    yield f"{count_of(kept, f'{comparison.split} row')}" + (f" of {rows:,}" if rows > kept else "") + "."
    left = [row.candidate for row in comparison.candidates if row.trial_ids and row.candidate not in tables]
    if left:
        yield f"Not held here: {enumerate_words(left)} (`--browse NAME` chooses)."
    yield "Shown is what each candidate's first training answered."
    if cuts[0]:
        yield f"{count_of(cuts[0], 'text')} cut to {cuts[1]:,} characters."
    if pictureless:
        yield f"{count_of(pictureless, 'row')} without a picture, to keep the file small."
