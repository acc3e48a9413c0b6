"""Tables as CSV, and the comparison as one: a row a candidate, plain numbers with their units in the heads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from whichtune.report.costs import COLUMNS
from whichtune.report.figures import plain
from whichtune.report.model import CandidateRow, Comparison, Figure, MetricHead, PairRow, Quality
from whichtune.report.price_list import say_state

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a text that starts so."""
LATENCY_PARTS = (
    "forward_seconds", "forward_p95_seconds", "prefill_seconds", "prefill_p95_seconds", "prefill_tokens",
    "decode_seconds", "decode_p95_seconds", "tokens_per_second",
)  # fmt: skip
FORGETTING_PARTS = ("before", "after", "change", "low", "high", "perplexity_before", "perplexity_after")
PAIR_HEADS = (
    "first", "second", "metric", "difference", "low", "high", "df", "p_value", "call", "sentence",
)  # fmt: skip
VERDICT_HEADS = ("cost", "cost_axis", "shortfall", "shortfall_at_most", "collapsed_trainings", "state")
"""What the verdict makes of a candidate; shortfalls in units of the first metric."""

Cell = str | float | int | None


def render_csv(comparison: Comparison) -> str:
    """Return the candidates as CSV; an unknown value is an empty cell."""
    heads = ["candidate", "method", "kind", "backbone", "baseline", "family", "trainings", "trials", "reason"]
    heads += [f"{metric.name}_{part}" for metric in comparison.metrics for part in _PARTS]
    heads += ["unreadable_share"]
    heads += [_cost_head(name) for name in COLUMNS] + ["latency_batch_rows", "published", "published_source"]
    times = _tabulate_latencies(comparison) | _tabulate_forgetting(comparison)
    prices = _list_prices(comparison)
    heads += [*times, *VERDICT_HEADS]
    rows = (
        [
            *_cells(row, comparison.metrics),
            *(own.get(row.candidate) for own in times.values()),
            *prices.get(row.candidate, [None] * len(VERDICT_HEADS)),
        ]
        for row in comparison.candidates
    )
    return _write(heads, rows)


def render_pairs_csv(comparison: Comparison) -> str:
    """Return every pair of candidates as CSV, in units of the first metric."""
    name = comparison.metrics[0].name if comparison.metrics else ""
    return _write(PAIR_HEADS, (_pair_cells(pair, name) for pair in comparison.pairs))


def write_csv(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Write a table as RFC 4180 says, but for its lines' ends, which are a line feed alone; None is an empty cell."""
    lines: list[str] = []
    for row in (heads, *rows):
        out = io.StringIO()
        # With both characters as the end of a line, a lone one of them inside a cell is put in quotes too.
        csv.writer(out, lineterminator="\r\n").writerow(row)
        lines.append(out.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def guard_cell(cell: Cell) -> Cell:
    """Put an apostrophe before a text that a spreadsheet would take for a formula; a number is none."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA_STARTS) or _is_number(cell):
        return cell
    return f"'{cell}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()


_PARTS = ("mean", "low", "high", "seed_sd", "flip_sd")


def _cost_head(name: str) -> str:
    unit = COLUMNS[name].unit
    return name if name.endswith(unit) or unit in {"count", "share", "operations"} else f"{name}_{unit}"


def _cells(row: CandidateRow, metrics: Sequence[MetricHead]) -> Iterator[Cell]:
    yield from (row.candidate, row.method, row.kind, row.backbone, "yes" if row.baseline else "no")
    yield from (row.family, len(row.seeds))
    yield "; ".join(f"{count} {status}" for status, count in row.trials.items())
    yield row.reason
    for own in row.quality or [Quality(metric=metric.name) for metric in metrics]:
        yield from (own.mean, own.low, own.high, own.seed_deviation, own.flip_deviation)
    yield row.unreadable
    for name in COLUMNS:
        figure: Figure = getattr(row.costs, name)
        yield figure.value
    yield row.costs.latency_rows
    yield "; ".join(f"{one.name} {one.published!r}" for one in row.published)
    yield row.published[0].source if row.published else None


def _tabulate_latencies(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return a column for each time that some candidate has, such as `decode_1_merged_seconds`: candidate to value."""
    columns: dict[str, dict[str, float]] = {}
    for row in comparison.latencies:
        for part in LATENCY_PARTS:
            value: float | None = getattr(row, part)
            phase, _, unit = part.partition("_")
            head = f"{phase}_{row.batch}_{row.way}_{unit}" if unit != "per_second" else f"{part}_{row.batch}_{row.way}"
            if value is not None:
                columns.setdefault(head, {})[row.candidate] = value
    return columns


def _tabulate_forgetting(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return the columns of each measure of forgetting, such as `general_loss_change`: candidate to value."""
    columns: dict[str, dict[str, float]] = {}
    for row in comparison.forgetting.rows if comparison.forgetting is not None else ():
        for part in FORGETTING_PARTS:
            value: float | None = getattr(row, part)
            if value is not None:
                columns.setdefault(f"{row.measure}_{row.metric}_{part}", {})[row.candidate] = value
    return columns


def _list_prices(comparison: Comparison) -> dict[str, list[Cell]]:
    """Return the cells of the price list by candidate; nothing without a verdict."""
    verdict = comparison.verdict
    if verdict is None:
        return {}
    return {
        one.candidate: [one.cost, verdict.axis, one.estimate, one.guaranteed, one.collapsed, say_state(one)]
        for one in verdict.prices
    }


def _pair_cells(pair: PairRow, metric: str) -> list[Cell]:
    figures = (pair.difference, pair.low, pair.high, pair.df, pair.p_value)
    return [pair.first, pair.second, metric, *figures, pair.call, pair.sentence]


def _write(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    return write_csv(heads, ([_clean(cell) for cell in row] for row in rows))


def _clean(cell: Cell) -> Cell:
    """Bring a text on one line without control characters, and guard it as it came."""
    guarded = guard_cell(cell)
    return plain(guarded) if isinstance(guarded, str) else guarded
