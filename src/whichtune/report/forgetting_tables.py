"""Tables of what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from whichtune.report.figures import DASH, format_interval, format_score
from whichtune.report.forgetting_model import Forgetting, ForgettingRow
from whichtune.report.model import Comparison
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.stats.metrics import METRICS

SENTENCES = {
    "worse": "worse",
    "better": "better",
    "unchanged": "the same, bit for bit",
    "not-shown": "no change is shown",
}
"""What may be said of a change; the first two where its interval leaves out 0."""
INTERVALS = (
    "Change: tuned less untouched, the same rows before and after; intervals are 95 %, each by itself, with rows and "
    "seeds taken as random. It decides nothing: neither the choice of settings nor the verdict."
)
PERPLEXITY = " Loss in nats a token; ppl: perplexity."
SHARES = " Accuracy in hundredths."
ALONE = " With one training the interval knows nothing of seeds."


def lay_out_forgetting(comparison: Comparison) -> Iterator[Section]:
    """Yield a row a measure and candidate, then what was measured; nothing where nothing was."""
    found = comparison.forgetting
    if found is None:
        return
    yield TableSection(
        title="Forgetting: before and after tuning",
        columns=("candidate", "measure", "before", "after", "change", "what may be said"),
        rows=[_cells(row) for row in found.rows],
        right=frozenset({2, 3, 4}),
        note=INTERVALS + "".join(_list_notes(found)),
    )
    yield ListSection("Forgetting: what was measured", found.remarks)


def _list_notes(found: Forgetting) -> Iterator[str]:
    metrics = {row.metric for row in found.rows if row.before is not None}
    yield PERPLEXITY * ("loss" in metrics)
    yield SHARES * ("accuracy" in metrics)
    yield ALONE * any(row.trainings == 1 for row in found.rows)


def _cells(row: ForgettingRow) -> tuple[str, ...]:
    metric = METRICS[row.metric]
    arrow = " ↓" if metric.direction == "lower" else ""
    told = DASH if row.call is None else SENTENCES[row.call]
    return (
        row.candidate,
        f"{row.measure}\n{metric.title}{arrow}",
        _score(row.before, row.perplexity_before, metric.unit),
        _score(row.after, row.perplexity_after, metric.unit),
        _change(row, metric.unit),
        f"{told} ({row.reason})" if row.reason else told,
    )


def _score(value: float | None, perplexity: float | None, unit: str) -> str:
    return format_score(value, unit) + ("" if perplexity is None else f"\nppl {perplexity:.3g}")


def _change(row: ForgettingRow, unit: str) -> str:
    if row.change is None:
        return DASH
    interval = "" if row.low is None else f"\n{format_interval(row.low, row.high, unit)}"
    return f"{'+' * (row.change > 0)}{format_score(row.change, unit)}{interval}"
