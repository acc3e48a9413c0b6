"""The verdict laid out: its sentences, the price list, and what another margin or cost would recommend."""

from __future__ import annotations

from collections.abc import Iterator

from whichtune.report.figures import (
    DASH,
    count_of,
    enumerate_words,
    format_bytes,
    format_operations,
    format_percent,
    format_score,
    format_seconds,
)
from whichtune.report.model import Comparison, MetricHead
from whichtune.report.sections import ListSection, Section, TableSection
from whichtune.report.sentences import is_legal, write_bound
from whichtune.report.verdict_model import Axis, Choice, Price, Verdict

WRITERS = {"seconds": format_seconds, "peak_bytes": format_bytes, "flops": format_operations}
COST_HEADS: dict[Axis, str] = {"seconds": "time", "peak_bytes": "peak", "flops": "operations"}
BELOW = (
    "Below: estimated shortfall from the best, at most: guaranteed shortfall, 95 % for all rows together; the margin "
    "picks a row."
)


def lay_out_verdict(comparison: Comparison) -> Iterator[Section]:
    """Yield the sections that stand before all others; none without a verdict."""
    verdict = comparison.verdict
    if verdict is None or not comparison.metrics:
        return
    metric = comparison.metrics[0]
    yield ListSection("Verdict", verdict.sentences)
    yield TableSection(
        title="Price list, cheapest first",
        columns=("candidate", COST_HEADS[verdict.axis], metric.title, "below", "at most", "state"),
        rows=[_cells(one, verdict, metric) for one in verdict.prices],
        right=frozenset({1, 2, 3, 4}),
        note=" ".join(_notes(verdict)),
    )
    yield ListSection("Price list: what is missing, and why", list(_list_reference(verdict)))
    others = [("margin", one) for one in verdict.other_margins] + [("cost", one) for one in verdict.other_axes]
    yield TableSection(
        title="With another margin or cost",
        columns=("what", "instead", "recommended"),
        rows=[(what, one.said, _say_choice(one)) for what, one in others],
    )


def _say_choice(one: Choice) -> str:
    told = one.candidate or "nothing is shown"
    return f"{told} (cost unknown: {enumerate_words(one.unpriced)})" if one.unpriced else told


def list_unsaid(comparison: Comparison) -> list[str]:
    """Return the scope sentences that the verdict has not said already, if of other candidates."""
    said = set() if comparison.verdict is None else {_topic_of(sentence) for sentence in comparison.verdict.sentences}
    return [sentence for sentence in comparison.scope if not is_legal(sentence) or _topic_of(sentence) not in said]


def _topic_of(sentence: str) -> str:
    """Return what a sentence counts: trainings or candidates; nothing where it does not begin with a number."""
    number, counted, *_ = sentence.split()
    return counted.rstrip("s:") if number in {"One", "Two"} else ""


def say_state(one: Price) -> str:
    """Say in a word or two what the verdict makes of a candidate; the first that holds."""
    states = (
        (one.absent is not None, "no result"),
        (bool(one.outside), "outside the limits"),
        (one.collapsed > 0, f"{one.collapsed} of {one.trainings} collapsed"),
        (one.recommended, "recommended"),
        (one.guessed, "best guess"),
        (one.alive, "could be the best"),
        (one.estimate is not None, "not the best"),
    )
    return next((said for holds, said in states if holds), "")


def _cells(one: Price, verdict: Verdict, metric: MetricHead) -> tuple[str, ...]:
    decided = any(price.alive for price in verdict.prices)
    bound = DASH if one.guaranteed is None else write_bound(one.guaranteed, metric.unit, verdict.margin)
    return (
        one.candidate,
        WRITERS[verdict.axis](one.cost),
        format_score(one.score, metric.unit),
        format_score(one.estimate, metric.unit),
        bound.rpartition(" ")[0] or bound,
        say_state(one) if decided or one.absent or one.outside or one.collapsed else DASH,
    )


def _notes(verdict: Verdict) -> Iterator[str]:
    yield f"Cost: {verdict.cost_title}."
    yield BELOW
    open_rates = {
        one.trainings: one.collapse_bound
        for one in verdict.prices
        if one.collapse_bound is not None and not one.collapsed
    }
    told = [f"{count_of(count, 'training')} up to {format_percent(rate)}" for count, rate in sorted(open_rates.items())]
    if told:
        yield f"Rate of collapses that clean trainings leave open: {', '.join(told)}."
    yield f"Verdicts taken on these test rows, by the studies beside this one: {verdict.test_uses:,}."


def _list_reference(verdict: Verdict) -> Iterator[str]:
    for one in verdict.prices:
        if one.absent is not None:
            yield f"{one.candidate}: {one.absent}"
        elif one.outside:
            yield f"{one.candidate}: {'; '.join(one.outside)}"
    for one in verdict.prices:
        if one.cost is None and one.absent is None:
            yield f"{one.candidate}: cost unknown: {one.reason}; it stands last, cheaper or dearer"
