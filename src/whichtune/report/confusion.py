"""Which labels a candidate takes for which: the whole matrix where it is small, its largest wrong cells, their rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from whichtune.errors import InputError, RecordError, did_you_mean
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions, read_predictions
from whichtune.report.answers import show
from whichtune.report.confusion_model import ConfusedPair, ConfusedRow, Confusion
from whichtune.report.figures import count_of, format_percent
from whichtune.report.model import CandidateRow, Comparison
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.stored import read_columns

PAIRS = 10
"""So many confused pairs are listed."""
ROWS = 8
"""So many rows of each are kept."""
ROWS_NAMED = 2
"""So many of them stand in a table."""
MATRIX_LABELS = 15
"""Up to so many labels the whole matrix is printed."""
PAGE = 80
"""Characters that a part of the matrix may take."""
LABEL_WIDTH = 16
NARROW = 6
"""Labels of so few characters head their own columns; longer ones are numbered."""
GAP = 3
UNREAD = "unread"

Cell = tuple[str, str | None]


def read_confusion(folder: StudyFolder, comparison: Comparison, candidate: str | None = None) -> Confusion:
    """Add up what the trainings of a candidate answered; without a name that of the best one that is no baseline."""
    row = choose_candidate(comparison, candidate)
    tables = [_read_table(folder, trial, comparison.split) for trial in row.trial_ids]
    labels = list(tables[0].labels)
    if not labels:
        raise InputError("--confusion", value=comparison.study, allowed="studies whose answers are labels")
    cells: Counter[Cell] = Counter()
    rows: dict[Cell, Counter[str]] = defaultdict(Counter)
    for table in tables:
        for identifier, gold, parsed in zip(table.ids, table.gold, table.parsed, strict=True):
            if gold is not None:
                cells[gold, parsed] += 1
                if gold != parsed:
                    rows[gold, parsed][identifier] += 1
    wrong = sorted(
        (cell for cell in cells if cell[0] != cell[1]), key=lambda cell: (-cells[cell], cell[0], str(cell[1]))
    )
    unreadable = any(parsed is None for _, parsed in cells)
    shown: list[str | None] = [*labels, *([None] if unreadable else [])]
    whole = [[cells[gold, parsed] for parsed in shown] for gold in labels] if len(labels) <= MATRIX_LABELS else None
    return Confusion(
        candidate=row.candidate,
        trainings=len(tables),
        labels=labels,
        counts=whole,
        unreadable=unreadable,
        answers=sum(cells.values()),
        wrong=sum(cells[cell] for cell in wrong),
        pairs=list(_describe(wrong[:PAIRS], cells, rows, _read_rows(folder, comparison.split))),
        more_pairs=max(0, len(wrong) - PAIRS),
    )


def choose_candidate(comparison: Comparison, name: str | None) -> CandidateRow:
    """Return a candidate with finished trainings by its name, or the best one that is no baseline."""
    known = {row.candidate: row for row in comparison.candidates if row.trial_ids}
    if name is None:
        best = next((row for row in known.values() if not row.baseline), next(iter(known.values()), None))
        if best is None:
            raise RecordError(f"{comparison.folder}: no trial has finished", remedy="run the study first")
        return best
    if name not in known:
        raise InputError("--candidate", value=name, allowed=", ".join(known), remedy=did_you_mean(name, known))
    return known[name]


def lay_out_confusion(comparison: Comparison) -> Iterator[Section]:
    """Yield the matrix where it is small, then the confused pairs with some of their rows."""
    found = comparison.confusion
    if found is None:
        return
    added = f", {found.trainings} trainings added up" if found.trainings > 1 else ""
    if found.counts is not None:
        yield from _lay_out_matrix(found, added)
    right = found.answers - found.wrong
    told = f"{count_of(found.answers, 'answer')}, {right:,} right. Share: of the answers to rows of that label."
    more = f" {found.more_pairs:,} more pairs are confused less often." if found.more_pairs else ""
    yield TableSection(
        title=f"Most often confused by {found.candidate}{added}",
        columns=("true label", "taken for", "count", "share", "rows such as"),
        rows=[_pair_cells(one) for one in found.pairs],
        right=frozenset({2, 3}),
        note=told + more,
    )
    lines = [f"Pictures: {found.picture}"] if found.picture else []
    yield ListSection("Confusion in pictures", lines or ([found.note] if found.note else []))


def _lay_out_matrix(found: Confusion, added: str) -> Iterator[Section]:
    """Yield the matrix in parts that fit a page: rows are true labels, columns what they were taken for."""
    counts = found.counts or []
    short = all(len(label) <= NARROW for label in found.labels)
    named = [show(label, LABEL_WIDTH) for label in found.labels]
    heads = found.labels if short else [str(place + 1) for place in range(len(named))]
    heads = [*heads, *([UNREAD] if found.unreadable else [])]
    rows = named if short else [f"{place + 1} {label}" for place, label in enumerate(named)]
    room = PAGE - max(map(len, [*rows, "true label"]), default=0)
    cells = [[f"{count:,}" for count in own] for own in counts]
    column = max((len(text) for own in [heads, *cells] for text in own), default=1) + GAP
    abreast = max(1, room // column)
    for start in range(0, len(heads), abreast):
        part = slice(start, start + abreast)
        yield TableSection(
            title=f"Confusion of {found.candidate}{added}: columns are what was predicted",
            columns=("true label", *heads[part]),
            rows=[(name, *own[part]) for name, own in zip(rows, cells, strict=True)],
            right=frozenset(range(1, len(heads[part]) + 1)),
        )


def _pair_cells(one: ConfusedPair) -> tuple[str, ...]:
    named = [f"{row.id} ({row.origin})" if row.origin else row.id for row in one.rows[:ROWS_NAMED]]
    taken = UNREAD if one.predicted is None else show(one.predicted, LABEL_WIDTH * 2)
    return show(one.gold, LABEL_WIDTH * 2), taken, f"{one.count:,}", format_percent(one.share), "\n".join(named)


def _describe(
    chosen: Sequence[Cell],
    cells: Mapping[Cell, int],
    rows: Mapping[Cell, Counter[str]],
    known: Mapping[str, tuple[str | None, str | None]],
) -> Iterator[ConfusedPair]:
    support: Counter[str] = Counter()
    for (gold, _), count in cells.items():
        support[gold] += count
    for cell in chosen:
        often = sorted(rows[cell].items(), key=lambda one: -one[1])[:ROWS]
        yield ConfusedPair(
            gold=cell[0],
            predicted=cell[1],
            count=cells[cell],
            share=cells[cell] / support[cell[0]],
            rows=[_name_row(identifier, times, known) for identifier, times in often],
        )


def _name_row(identifier: str, times: int, known: Mapping[str, tuple[str | None, str | None]]) -> ConfusedRow:
    origin, text = known.get(identifier, (None, None))
    return ConfusedRow(id=identifier, origin=origin, text=text or None, times=times)


def _read_rows(folder: StudyFolder, split: str) -> dict[str, tuple[str | None, str | None]]:
    """Return origin and text of each row of a split by its id."""
    held = read_columns(folder, ("id", "origin", "text"), split)
    if "id" not in held:
        return {}
    blank = [None] * len(held["id"])
    return {
        row: (origin, text)
        for row, origin, text in zip(held["id"], held.get("origin", blank), held.get("text", blank), strict=True)
    }


def _read_table(folder: StudyFolder, trial: str, split: str) -> Predictions:
    table = read_predictions(folder.trial(trial).predictions, split).get(split)
    if table is None:
        raise RecordError(f"{folder.trial(trial).predictions}: no {split} predictions", remedy="run the study again")
    return table
