"""From the rows of measures, before and after, to changes with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from whichtune.records.folder import StudyFolder
from whichtune.records.retention import METRICS, MeasuredText, RetentionFigures, RetentionRows, read_rows
from whichtune.records.trial import TrialRecord
from whichtune.report.figures import count_of
from whichtune.report.forgetting_model import Change, Forgetting, ForgettingRow
from whichtune.stats.counting import Floats
from whichtune.stats.intervals import CandidateSample, Estimate, estimate_difference, sample_candidate
from whichtune.stats.metrics import METRICS as HEADS

LEAST_ROWS = 2
"""An interval needs a variance between rows."""


def report_forgetting(folder: StudyFolder, trials: Mapping[str, Sequence[TrialRecord]]) -> Forgetting | None:
    """Return what was measured of each candidate by its trials; None where nothing was."""
    texts = folder.read_retention_texts().texts
    rows = [
        row
        for text in texts
        for candidate, own in trials.items()
        if (row := _describe(folder, text, candidate, own)) is not None
    ]
    return Forgetting(rows=rows, remarks=[one for text in texts for one in _remark(text, rows)]) if rows else None


def weigh_rows(rows: RetentionRows) -> Floats:
    """Return each row's part in the value, [rows]: their mean is the value, their variance that of the ratio it is.

    The value is a ratio of sums, and rows differ in their tokens: this is its linear form around itself.
    """
    value, mean = rows.value, float(rows.counts.mean())
    return value + (rows.totals - value * rows.counts) / mean


def estimate_change(name: str, before: RetentionRows, after: Sequence[RetentionRows]) -> Estimate | None:
    """Return how far the trainings are above the untouched model, in the metric's unit, paired over rows.

    None where an interval cannot be had: below two rows.
    """
    if len(before.ids) < LEAST_ROWS:
        return None
    return estimate_difference(_sample(name, after), _sample("untouched", [before]))


def _sample(name: str, found: Sequence[RetentionRows]) -> CandidateSample:
    totals = [one.value for one in found]
    binary = all(bool((one.counts == 1).all() and np.isin(one.totals, (0, 1)).all()) for one in found)
    return sample_candidate(name, found[0].ids, totals, np.stack([weigh_rows(one) for one in found]), binary=binary)


def _describe(
    folder: StudyFolder, text: MeasuredText, candidate: str, trials: Sequence[TrialRecord]
) -> ForgettingRow | None:
    """Describe one measure of one candidate; only trials that were measured on the same rows are put together."""
    taken = [(one, one.retention[text.name]) for one in trials if text.name in one.retention]
    if not taken:
        return None
    last = taken[-1][1]
    row = ForgettingRow(
        candidate=candidate,
        measure=text.name,
        metric="loss" if METRICS[text.kind] == "loss" else "accuracy",
        backbone=trials[0].backbone,
        rows=last.rows,
        counted=last.counted,
        cut=last.cut,
        left_out=last.left_out,
        before=last.before,
        reason=last.reason,
    )
    _fill(folder, row, last, [trial.id for trial, own in taken if own.id == last.id])
    return row


def _fill(folder: StudyFolder, row: ForgettingRow, figures: RetentionFigures, trials: Sequence[str]) -> None:
    before = read_rows(folder.retention(figures.id))
    found = [read_rows(folder.trial(one).retention(figures.id)) for one in trials]
    after = [one for one in found if one is not None]
    if before is None or not after:
        row.reason = row.reason or "the rows of the measure are gone: run the study again"
        return
    row.trainings = len(after)
    row.reason = None if len(after) == len(trials) else f"{count_of(len(trials) - len(after), 'training')} not measured"
    row.before, row.after = before.value, float(np.mean([one.value for one in after]))
    row.change = row.after - row.before
    if row.metric == "loss":
        row.perplexity_before, row.perplexity_after = _exp(row.before), _exp(row.after)
    if row.metric == "loss" and all(np.array_equal(one.totals, before.totals) for one in after):
        row.after, row.change, row.low, row.high, row.call = row.before, 0.0, 0.0, 0.0, "unchanged"
        return
    estimate = estimate_change(row.candidate, before, after)
    if estimate is not None:
        row.low, row.high = estimate.interval()
        row.df = None if math.isinf(estimate.df) else estimate.df
    row.call = _call(row)


def _call(row: ForgettingRow) -> Change:
    """Say what may be said of a change: one that is not shown is never called absent."""
    if row.low is None or row.high is None or row.low <= 0 <= row.high:
        return "not-shown"
    higher = row.low > 0
    return "better" if higher == (HEADS[row.metric].direction == "higher") else "worse"


def _exp(value: float) -> float | None:
    """Return a perplexity; None beyond what a number can hold."""
    return math.exp(value) if value < 700 else None


def _remark(text: MeasuredText, rows: Sequence[ForgettingRow]) -> Iterator[str]:
    """Say on what a measure was taken, and what of it is not held out."""
    what = "loss a token" if METRICS[text.kind] == "loss" else "accuracy of the likeliest label word"
    drawn = f"{text.rows:,} of {text.found:,}" if text.rows < text.found else f"{text.rows:,}"
    yield f"{text.name}: {what} on {drawn} rows; {text.source}"
    if text.empty:
        yield f"{text.name}: {count_of(text.empty, 'row')} without a text left out"
    if text.trained_exactly or text.trained_nearly:
        nearly = f", {text.trained_nearly:,} more nearly so" if text.trained_nearly else ""
        counted = count_of(text.trained_exactly, "row")
        yield f"{text.name}: {counted} stand among the training rows{nearly}; text that is trained on is not held out"
    for part, told in (
        ("cut", "cut to the tokens that a row may have"),
        ("left_out", "of fewer than two tokens left out"),
    ):
        counts = {row.backbone: getattr(row, part) for row in rows if row.measure == text.name and getattr(row, part)}
        yield from (f"{text.name}, {backbone}: {count_of(count, 'row')} {told}" for backbone, count in counts.items())
