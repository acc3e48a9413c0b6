"""A comparison cut into titled tables and lists, before any form is chosen; several narrow tables, not one wide one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from whichtune.report.answers import lay_out_answers
from whichtune.report.confusion import lay_out_confusion
from whichtune.report.costs import ASKING, COLUMNS, list_hidden
from whichtune.report.figures import (
    DASH,
    count_of,
    enumerate_words,
    format_interval,
    format_score,
    format_seconds,
)
from whichtune.report.forgetting_tables import lay_out_forgetting
from whichtune.report.groups import lay_out_groups
from whichtune.report.latency import lay_out_latency
from whichtune.report.model import (
    CandidateRow,
    Comparison,
    Figure,
    MetricHead,
    Missing,
    PairRow,
    Published,
    Quality,
)
from whichtune.report.price_list import lay_out_verdict, list_unsaid
from whichtune.report.quality import format_margin, title_of
from whichtune.report.scope import INTERVALS
from whichtune.report.search_tables import lay_out_search
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.size_tables import lay_out_sizes
from whichtune.report.type_tables import lay_out_types

FLIPS = "Seed sd: over seeds; flip sd: what test rows that change sides from seed to seed would give alone."
METRICS_ABREAST = 4
"""So many metrics beside each other fit at 80 columns."""
UNREADABLE = " Unread: answers that could not be read, in hundredths; they count as wrong."
PAIRS_SHOWN = 36
"""Up to so many pairs all are listed: nine candidates."""
COST_TABLES = (
    ("Cost of training, mean over a candidate's trainings", ("training_seconds", "wall_seconds", "spent_seconds")),
    (
        "Cost of one step, measured alone",
        ("step_seconds", "peak_bytes", "saved_bytes", "forward_flops", "backward_flops"),
    ),
    ("Cost of an answer, mean a row", ("tokens_in", "tokens_out", "item_seconds")),
    ("Parameters", ("trainable_parameters", "trainable_share", "total_parameters", "adapter_bytes")),
    (
        "Latency, median of a forward pass",
        ("latency_one", "latency_one_merged", "latency_many", "latency_many_merged"),
    ),
)


def lay_out(comparison: Comparison) -> list[Section]:
    """Return the sections of a report that have something in them, in the order of reading."""
    sections: Iterable[Section] = (
        *lay_out_verdict(comparison),
        *lay_out_quality(comparison),
        ListSection("Scope", list_unsaid(comparison)),
        ListSection("Unequal comparison: held settings that a method changed", comparison.unequal),
        lay_out_pairs(comparison),
        *([] if comparison.types else [lay_out_groups(comparison)]),
        *lay_out_types(comparison),
        *lay_out_confusion(comparison),
        *lay_out_sizes(comparison),
        *lay_out_forgetting(comparison),
        *lay_out_search(comparison),
        *(lay_out_cost(comparison, title, names) for title, names in COST_TABLES),
        *lay_out_latency(comparison),
        lay_out_published(comparison),
        ListSection(f"Why there is a {DASH}", list_gaps(comparison)),
        lay_out_unfinished(comparison),
        lay_out_shared(comparison),
        ListSection("Traps seen", [f"{one.sentence} ({enumerate_words(one.where, 4)})" for one in comparison.traps]),
        ListSection("Notes", comparison.notes),
        ListSection(
            "Trials, by the beginning of their ids (`whichtune show ID`)", [*map(list_trials, comparison.candidates)]
        ),
        ListSection("Data", comparison.data_notes),
        *lay_out_answers(comparison),
    )
    return [one for one in sections if (one.rows if isinstance(one, TableSection) else one.lines)]


def list_trials(row: CandidateRow) -> str:
    """Name the finished trials of a candidate by the beginnings of their ids."""
    named = [f"{identifier[:8]} (seed {seed})" for identifier, seed in zip(row.trial_ids, row.seeds, strict=True)]
    return f"{row.candidate}: {', '.join(named) or DASH}"


def headline(comparison: Comparison) -> str:
    """Say which study this is and how far it has come."""
    counts = ", ".join(f"{count} {status}" for status, count in comparison.trials.items()) or "no trial yet"
    planned = comparison.trials_planned
    left = 0 if planned is None else planned - sum(comparison.trials.values())
    waiting = f", {left} not started" if left > 0 else ""
    rows = "" if comparison.rows_scored is None else f"; {count_of(comparison.rows_scored, f'{comparison.split} row')}"
    more = [] if comparison.withheld is None else [comparison.withheld]
    more += [f"Asked here: {'; '.join(comparison.asked)}."] if comparison.asked else []
    return " ".join([f"Trials: {counts}{waiting}{rows}{'.' if more else ''}", *more])


def mark(row: CandidateRow) -> str:
    """Name a candidate, baselines marked."""
    return f"{row.candidate} (baseline)" if row.baseline else row.candidate


def metric_title(metric: MetricHead) -> str:
    """Head a column of scores; an arrow says that lower is better."""
    return f"{metric.title} ↓" if metric.direction == "lower" else metric.title


def lay_out_quality(comparison: Comparison) -> Iterator[Section]:
    """Yield the scores of the first metric, then those of the others, a few abreast."""
    if not comparison.metrics:
        return
    first, *others = comparison.metrics
    unread = any(row.unreadable for row in comparison.candidates)
    yield TableSection(
        title=f"Quality on the {comparison.split} split: {first.title}{_unit(first)}",
        columns=(
            "candidate",
            "trainings",
            first.title,
            "95 % interval",
            "seed sd",
            "flip sd",
            *(["unread"] if unread else []),
        ),
        rows=[(mark(row), _trainings(row), *_first_cells(row, first, unread=unread)) for row in comparison.candidates],
        right=frozenset(range(1, 6 + unread)),
        note=f"{INTERVALS} {FLIPS}{UNREADABLE if unread else ''}",
    )
    for start in range(0, len(others), METRICS_ABREAST):
        some = others[start : start + METRICS_ABREAST]
        yield TableSection(
            title="Other metrics, with their 95 % intervals" if start == 0 else "More metrics",
            columns=("candidate", *map(metric_title, some)),
            rows=[(mark(row), *_other_cells(row, start, some)) for row in comparison.candidates if row.quality],
            right=frozenset(range(1, len(some) + 1)),
            note=" ".join(_other_notes(comparison, some)),
        )


def _other_notes(comparison: Comparison, metrics: Sequence[MetricHead]) -> Iterator[str]:
    if any(one.direction == "lower" for one in metrics):
        yield "↓: less is better."
    shown = {one.name for one in metrics}
    gaps: dict[tuple[str, str], list[str]] = {}
    for row in comparison.candidates:
        for own in row.quality:
            if own.metric in shown and own.mean is not None and own.low is None and own.reason:
                gaps.setdefault((own.metric, own.reason), []).append(row.candidate)
    scored = Counter(own.metric for row in comparison.candidates for own in row.quality if own.mean is not None)
    for (metric, reason), names in gaps.items():
        who = "" if len(names) == scored[metric] else f" ({enumerate_words(names)})"
        yield f"No interval of {title_of(metric)}{who}: {reason}."


def _unit(metric: MetricHead) -> str:
    lower = ", lower is better" if metric.direction == "lower" else ""
    return {"share": " in hundredths", "nats": " in nats"}.get(metric.unit, "") + lower


def _trainings(row: CandidateRow) -> str:
    asked = sum(row.trials.values())
    return str(len(row.seeds)) if len(row.seeds) == asked else f"{len(row.seeds)} of {asked}"


def _first_cells(row: CandidateRow, metric: MetricHead, *, unread: bool) -> tuple[str, ...]:
    if not row.quality:
        return (DASH,) * (4 + unread)
    own = row.quality[0]
    decimals = 3 if metric.unit == "nats" else 2
    return (
        format_score(own.mean, metric.unit),
        format_interval(own.low, own.high, metric.unit),
        format_score(own.seed_deviation, metric.unit, decimals),
        format_score(own.flip_deviation, metric.unit, decimals),
        *((format_score(row.unreadable, "share"),) if unread else ()),
    )


def _other_cells(row: CandidateRow, start: int, metrics: Sequence[MetricHead]) -> Iterator[str]:
    for own, metric in zip(row.quality[1 + start :], metrics, strict=False):
        yield format_score(own.mean, metric.unit) + _second_line(own, metric)


def _second_line(own: Quality, metric: MetricHead) -> str:
    return "" if own.low is None else f"\n{format_interval(own.low, own.high, metric.unit)}"


def lay_out_pairs(comparison: Comparison) -> Section:
    """Lay out every two candidates, or those with the best where there are too many."""
    shown = comparison.pairs
    note = ""
    if len(shown) > PAIRS_SHOWN:
        best = comparison.candidates[0].candidate
        shown = [pair for pair in shown if best in {pair.first, pair.second}]
        note = (
            f"{len(comparison.pairs):,} pairs in all; those with {best} are listed, all of them are in the JSON form."
        )
    metric = comparison.metrics[0] if comparison.metrics else None
    amount = comparison.margin_amount
    margin = "" if metric is None or amount is None else f", margin {format_margin(amount, metric.unit)}"
    return TableSection(
        title=f"Pairs of candidates{'' if metric is None else f' by {metric.title}'}{margin}",
        columns=("candidate", "against", "difference", "what may be said"),
        rows=[] if metric is None else [_pair_cells(pair, metric) for pair in shown],
        right=frozenset({2}),
        note=note,
    )


def _pair_cells(pair: PairRow, metric: MetricHead) -> tuple[str, ...]:
    narrow = 2 if metric.unit == "share" and pair.high - pair.low < 0.002 else None
    difference = format_score(pair.difference, metric.unit, narrow)
    interval = format_interval(pair.low, pair.high, metric.unit, narrow)
    return pair.first, pair.second, f"{difference}\n{interval}", pair.sentence


def lay_out_cost(comparison: Comparison, title: str, names: Sequence[str]) -> Section:
    """Lay out some costs of every candidate; no row where none of them is known."""
    hidden = list_hidden(comparison.candidates)
    names = [name for name in names if name not in hidden or name not in ASKING]
    rows = [(mark(row), *map(_writer(row), names)) for row in comparison.candidates]
    known = any(_figure(row, name).value is not None for row in comparison.candidates for name in names)
    batches = sorted({row.costs.latency_rows for row in comparison.candidates} - {None}, key=lambda rows: rows or 0)
    note = f"batch = {' or '.join(map(str, batches))} rows" if "latency_one" in names and batches else ""
    asked = any(row.family == "prompter" and row.costs.peak_bytes.value is not None for row in comparison.candidates)
    if "peak_bytes" in names and asked:
        note = "The peak of a method that trains nothing is that of asking."
    return TableSection(
        title=title,
        columns=("candidate", *(COLUMNS[name].title for name in names)),
        rows=rows if known else [],
        right=frozenset(range(1, len(names) + 1)),
        note=note,
    )


def _figure(row: CandidateRow, name: str) -> Figure:
    figure: Figure = getattr(row.costs, name)
    return figure


def _writer(row: CandidateRow) -> Callable[[str], str]:
    return lambda name: COLUMNS[name].write(_figure(row, name).value)


def lay_out_published(comparison: Comparison) -> Section:
    """Lay out published figures beside ours."""
    units = {metric.name: metric for metric in comparison.metrics}
    return TableSection(
        title="Published figures beside ours, never tuned to",
        columns=("candidate", "figure", "published", "ours", "source"),
        rows=[
            (row.candidate, *_published_cells(one, units.get(one.name)))
            for row in comparison.candidates
            for one in row.published
        ],
        right=frozenset({2, 3}),
    )


def _published_cells(one: Published, metric: MetricHead | None) -> tuple[str, ...]:
    if metric is not None:
        own = (format_score(one.published, metric.unit), format_score(one.ours, metric.unit))
        return metric.title, *own, one.source
    if one.name in COLUMNS:
        column = COLUMNS[one.name]
        return column.title, column.write(one.published), column.write(one.ours), one.source
    return one.name, f"{one.published:g}", DASH, one.source


def list_gaps(comparison: Comparison) -> list[str]:
    """Say why there are dashes, a line a reason."""
    lines = [f"{row.candidate}: {row.reason}" for row in comparison.candidates if row.reason]
    lines += [
        f"{row.candidate}: {title_of(one.metric)} ({one.reason})"
        for row in comparison.candidates
        for one in row.quality
        if one.mean is None
    ]
    for one in comparison.missing:
        lines.append(f"{enumerate_words(one.candidates)}: {enumerate_words(_grouped(one), 16)} ({one.reason})")
    return lines


def _grouped(missing: Missing) -> list[str]:
    """Name a whole table where all of its columns are missing."""
    left = list(missing.columns)
    named: list[str] = []
    for title, names in COST_TABLES:
        titles = [COLUMNS[name].title for name in names if name != "spent_seconds"]
        if set(titles) <= set(left):
            left = [column for column in left if column not in titles]
            named.append(title.partition(",")[0].lower())
    return named + left


def lay_out_unfinished(comparison: Comparison) -> Section:
    """List the trials without a result."""
    return ListSection(
        "Trials without a result",
        [
            f"{one.candidate} seed {one.seed}, {one.status}: {one.reason} (trial {one.id})"
            for one in comparison.unfinished
        ],
    )


def lay_out_shared(comparison: Comparison) -> Section:
    """Lay out what was spent once for all trials."""
    return TableSection(
        title="Spent once for all trials",
        columns=("what", "time", "times"),
        rows=[(one.what, format_seconds(one.seconds), f"{one.times:,}") for one in comparison.shared_costs],
        right=frozenset({1, 2}),
    )
