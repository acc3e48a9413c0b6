"""Whether a method makes a model slower to use: plain, with the method beside it, and with it merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from whichtune.records.trial import LatencyFigures, Probe
from whichtune.report.figures import DASH, count_of, format_seconds
from whichtune.report.model import Comparison, LatencyRow, Way
from whichtune.report.sections import ListSection, Section, TableSection

TIMED = {"decode": "a new token", "prefill": "a prompt", "forward": "a forward pass"}
_WAYS: tuple[Way, ...] = ("plain", "unmerged", "merged")
NEAR = "Too near to tell: the slower median lies within the other's 95th percentile."
Times = tuple[float, float]
"""Median and 95th percentile, seconds."""


def describe_latencies(candidate: str, probe: Probe | None) -> list[LatencyRow]:
    """Return a candidate's times by batch and form of the model.

    Nothing where forward passes of the method's own model are all there is: those stand among the costs.
    """
    figures = [] if probe is None else probe.alone.latencies
    if all(one.phase == "forward" and not one.plain for one in figures):
        return []
    rows: dict[tuple[int, Way], LatencyRow] = {}
    for one in figures:
        way: Way = "plain" if one.plain else "merged" if one.merged else "unmerged"
        row = rows.setdefault((one.batch, way), LatencyRow(candidate=candidate, batch=one.batch, way=way))
        _add(row, one)
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], _WAYS.index(key[1])))]


def answer_latencies(rows: Sequence[LatencyRow], backbones: Mapping[str, str | None]) -> list[str]:
    """Answer for each candidate whether it adds latency, by its smallest batch.

    Where its own probe did not time the plain model, that of another candidate of its backbone did: the times count
    if they are of as many rows and as long prompts.
    """
    sentences: list[str] = []
    for candidate, group in groupby(rows, key=lambda row: row.candidate):
        own = list(group)
        batch = min(row.batch for row in own)
        forms = {row.way: row for row in own if row.batch == batch}
        if "plain" not in forms:
            length = next(iter(forms.values())).prefill_tokens
            alike = (row for row in rows if backbones.get(row.candidate) == backbones.get(candidate))
            lent = (row for row in alike if row.way == "plain" and (row.batch, row.prefill_tokens) == (batch, length))
            forms |= {row.way: row for row in list(lent)[:1]}
        sentences += _answer(candidate, batch, forms)
    return sentences


def lay_out_latency(comparison: Comparison) -> Iterator[Section]:
    """Yield the table of times and the answers read off it."""
    rows = comparison.latencies
    asked = any(row.prefill_seconds is not None or row.decode_seconds is not None for row in rows)
    passes = any(row.forward_seconds is not None for row in rows)
    columns = ("prompt", "a new token", "tokens/s") if asked else ()
    merged = {row.candidate for row in rows if row.way == "merged"}
    cells: list[tuple[str, ...]] = []
    for row in rows:
        way = row.way if row.candidate in merged or row.way == "plain" else "tuned"
        times = (row.prefill_seconds, row.decode_seconds) if asked else ()
        told = [format_seconds(value) for value in ((row.forward_seconds,) if passes else ()) + times]
        speed = (DASH if row.tokens_per_second is None else f"{row.tokens_per_second:,.1f}",) if asked else ()
        cells.append((row.candidate, f"{row.batch:,}", way, *told, *speed))
    heads = ("candidate", "rows", "model", *(("forward",) if passes else ()), *columns)
    yield TableSection(
        title="Latency of the plain model and of the tuned one, medians",
        columns=heads,
        rows=cells,
        right=frozenset({1, *range(3, len(heads))}),
        note=f"{_note(rows) if asked else ''}{NEAR}",
    )
    yield ListSection("Does it add inference latency?", comparison.latency_answers)


def _note(rows: Sequence[LatencyRow]) -> str:
    lengths = sorted({row.prefill_tokens for row in rows if row.prefill_tokens is not None})
    prompts = f"Prompts of {' or '.join(map(str, lengths))} tokens a row. " if lengths else ""
    return f"{prompts}Tokens a second are new tokens of the whole batch. "


def _add(row: LatencyRow, one: LatencyFigures) -> None:
    setattr(row, f"{one.phase}_seconds", one.median_seconds)
    setattr(row, f"{one.phase}_p95_seconds", one.p95_seconds)
    if one.phase == "prefill":
        row.prefill_tokens = one.tokens
    if one.phase == "decode":
        row.tokens_per_second = one.tokens_per_second


def _times(row: LatencyRow | None, phase: str) -> Times | None:
    median, p95 = (None, None) if row is None else (
        getattr(row, f"{phase}_seconds"), getattr(row, f"{phase}_p95_seconds")
    )  # fmt: skip
    return None if median is None or p95 is None else (median, p95)


def _answer(candidate: str, batch: int, forms: Mapping[str, LatencyRow]) -> Iterator[str]:
    for phase, timed in TIMED.items():
        found = {way: _times(forms.get(way), phase) for way in _WAYS}
        plain, tuned, merged = found["plain"], found["unmerged"], found["merged"]
        if plain is not None:
            ways = (("unmerged" if merged is not None else "tuned", tuned), ("merged", merged))
            parts = [f"{way} {_compare(own, plain)}" for way, own in ways if own is not None]
            told = f"{', '.join(parts)} of the plain model's time" if parts else ""
        else:
            told = "" if tuned is None or merged is None else f"unmerged {_compare(tuned, merged)} of its time merged"
        if told:
            yield f"{candidate}, {timed}, {count_of(batch, 'row')}: {told}"


def _compare(own: Times, other: Times) -> str:
    """Say the ratio of medians; they cannot be told apart where the slower one lies within the other's 95 %."""
    ratio = f"x{own[0] / other[0]:.2f}" if other[0] > 0 else DASH
    slower, faster = (own, other) if own[0] >= other[0] else (other, own)
    return f"{ratio} (too near to tell)" if slower[0] <= faster[1] else ratio
