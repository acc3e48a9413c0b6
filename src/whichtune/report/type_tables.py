"""Tables of scores by type of question: one row a type, or, where a grouping is asked for, all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from whichtune.report.by_type import SPLITS
from whichtune.report.figures import DASH, enumerate_words, format_interval, format_score
from whichtune.report.model import Comparison, TypePair, TypeScore, TypeTable
from whichtune.report.sections import ListSection, Section, TableSection

PAIR_TABLES = 12
"""Up to so many pairs of candidates have a table of their own."""
BETTER_NOTE = (
    "Better: the 95 % interval of the paired difference, widened so that those of all {count} types of a pair hold "
    "together, leaves out 0."
)


def lay_out_types(comparison: Comparison) -> Iterator[Section]:
    """Yield a row a type for each grouping; counts, scores and pairs of the one that was asked for."""
    for table in comparison.types:
        if comparison.by is None:
            yield _lay_out_best(table, comparison)
        elif table.grouping == comparison.by:
            yield _lay_out_counts(table)
            yield _lay_out_scores(table, comparison)
            yield from _lay_out_pairs(table, comparison)


def _lay_out_best(table: TypeTable, comparison: Comparison) -> Section:
    lower = table.metric.direction == "lower"
    rows: list[tuple[str, ...]] = []
    for head in table.types:
        known = [one for one in _scores_of(table, head.type, comparison) if one.mean is not None]
        if not head.rows:
            continue
        if not known:
            rows.append((head.type or DASH, f"{head.rows:,}", *(DASH,) * 4))
            continue
        best = min(known, key=lambda one: (one.mean or 0.0) * (1 if lower else -1))
        beaten = [
            pair.second if pair.first == best.candidate else pair.first
            for pair in table.pairs
            if pair.type == head.type and pair.better == best.candidate
        ]
        told = "every other" if len(beaten) == len(known) - 1 > 1 else enumerate_words(beaten, 3)
        unit = table.metric.unit
        interval = format_interval(best.low, best.high, unit)
        figures = (format_score(best.mean, unit), interval)
        rows.append((head.type or DASH, f"{head.rows:,}", best.candidate, *figures, told or "none"))
    return TableSection(
        title=f"By type of question, {table.title}: {table.metric.title}",
        columns=("type", "rows", "best by its mean", "mean", "95 % interval", "better than"),
        rows=rows,
        right=frozenset({1, 3, 4}),
        note=f"{BETTER_NOTE.format(count=table.adjusted_for)} All scores and pairs: `--by {table.grouping}`.",
    )


def _lay_out_counts(table: TypeTable) -> Section:
    splits = [split for split in SPLITS if any(split in head.rows_by_split for head in table.types)]
    rows = [(head.type or DASH, *(f"{head.rows_by_split.get(split, 0):,}" for split in splits)) for head in table.types]
    return TableSection(
        title=f"Rows by type of question, {table.title}",
        columns=("type", *splits),
        rows=rows,
        right=frozenset(range(1, len(splits) + 1)),
        note="" if table.grouping == "source" else "Types are told by rules: docs/question-types.md.",
    )


def _lay_out_scores(table: TypeTable, comparison: Comparison) -> Section:
    rows: list[tuple[str, ...]] = []
    for head in table.types:
        for place, one in enumerate(_scores_of(table, head.type, comparison)):
            first = (head.type or DASH, f"{head.rows:,}") if place == 0 else ("", "")
            unit = table.metric.unit
            figures = (format_score(one.mean, unit), format_interval(one.low, one.high, unit))
            rows.append((*first, one.candidate, *figures))
    return TableSection(
        title=f"By type of question, {table.title}: {table.metric.title}",
        columns=("type", "rows", "candidate", "mean", "95 % interval"),
        rows=rows,
        right=frozenset({1, 3, 4}),
    )


def _lay_out_pairs(table: TypeTable, comparison: Comparison) -> Iterator[Section]:
    """Yield a table a pair: what is asked for most stands first, else as candidates are ordered."""
    pairs = [list(own) for _, own in groupby(table.pairs, key=lambda one: (one.first, one.second))]
    pairs.sort(key=lambda own: _rank_pair({own[0].first, own[0].second}, comparison))
    for own in pairs[:PAIR_TABLES]:
        yield _lay_out_pair(table, own)
    rest = len(pairs) - PAIR_TABLES
    if rest > 0:
        yield ListSection("More pairs by type", [f"{rest:,} more pairs stand in the JSON form"])


def _rank_pair(names: set[str], comparison: Comparison) -> int:
    """One method on two backbones first, then a method against the best baseline, then the rest."""
    rows = [row for row in comparison.candidates if row.candidate in names]
    bars = [row.candidate for row in comparison.candidates if row.baseline]
    if len({row.method for row in rows}) == 1:
        return 0
    if not names & set(bars):
        return 2
    return 1 if bars[0] in names else 3


def _lay_out_pair(table: TypeTable, pairs: list[TypePair]) -> Section:
    rows_of = {head.type: head.rows for head in table.types}
    unit = table.metric.unit
    return TableSection(
        title=f"{pairs[0].first} against {pairs[0].second}, {table.title}",
        columns=("type", "rows", "difference", "interval", "what may be said"),
        rows=[
            (
                one.type or DASH,
                f"{rows_of[one.type]:,}",
                format_score(one.difference, unit),
                format_interval(one.low, one.high, unit),
                one.sentence,
            )
            for one in pairs
        ],
        right=frozenset({1, 2, 3}),
        note=BETTER_NOTE.format(count=table.adjusted_for),
    )


def _scores_of(table: TypeTable, kind: str, comparison: Comparison) -> list[TypeScore]:
    """Return the scores on a type in the order of the report's candidates."""
    order = [row.candidate for row in comparison.candidates]
    return sorted((one for one in table.scores if one.type == kind), key=lambda one: order.index(one.candidate))
