"""Data-size curves from the records of a study: every candidate at every size, and where two of them cross."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import TrialRecord
from whichtune.report.figures import enumerate_words
from whichtune.report.model import MetricHead
from whichtune.report.quality import SPLIT
from whichtune.report.size_model import SizeCurve, SizePoint, SizeReport
from whichtune.report.stored import group_trials, read_columns, read_table
from whichtune.spec.sizes import LEAST_CHAINS, list_sizes
from whichtune.spec.study import StudySpec
from whichtune.stats.crossings import Chains, SizeComparison, compare_over_sizes
from whichtune.stats.intervals import estimate_single
from whichtune.stats.metrics import METRICS
from whichtune.stats.pseudo import psi
from whichtune.stats.samples import collect_sample

Tables = dict[int, Predictions]
"""Seed of the chain to what was predicted."""


@dataclass
class _Grown:
    """One candidate over the sizes."""

    candidate: str
    labels: Sequence[str]
    tables: dict[int, Tables]
    """Size to the predictions of its trainings, smallest first."""
    fixed: bool
    """It looks at no training row: its final trials stand at every size."""

    def score(self, size: int, metric: str) -> Chains:
        """Return the scores of a size's chains; those without scores of single rows are left out."""
        scored = {seed: psi(table, self.labels, metric) for seed, table in self.tables[size].items()}
        return {seed: own for seed, own in scored.items() if own is not None}


def report_sizes(
    folder: StudyFolder, study: StudySpec, final: Iterable[TrialRecord], metric: MetricHead
) -> SizeReport | None:
    """Return the curves of all candidates by the study's own metric; None where nothing was trained at sizes.

    The last point are the final trials of the study's own seeds, on all labelled rows.
    """
    sized = group_trials(folder.read_trials("size"))
    finals = group_trials(final)
    if not sized or METRICS.get(metric.name) is None:
        return None
    sizes = [*list_sizes(study.sizes), count_labelled(folder)]
    every = [_grow(folder, study, own, sized.get(name), sizes) for name, own in finals.items()]
    grown = [one for one in every if any(one.tables.values())]
    compared = [_compare(first, second, metric.name) for first, second in combinations(grown, 2)]
    told = [*_tell_crossings(compared), *_tell_leads(compared), *_tell_thin(grown)]
    curves = [_draw(one, metric) for one in grown]
    return SizeReport(metric=metric.name, hold=study.sizes_hold, curves=curves, sentences=told)


def count_labelled(folder: StudyFolder) -> int:
    """Count the rows of a study that training and validation may use."""
    return sum(split != SPLIT for split in read_columns(folder, ("split",)).get("split", []))


def _grow(
    folder: StudyFolder,
    study: StudySpec,
    final: Sequence[TrialRecord],
    sized: Sequence[TrialRecord] | None,
    sizes: Sequence[int],
) -> _Grown:
    """Read what a candidate predicted at each size; one without randomness answers alike in every chain of all rows."""
    whole = _read(folder, [one for one in final if one.seed in study.seeds])
    if final[0].deterministic and whole:
        whole = dict.fromkeys(study.seeds, next(iter(whole.values())))
    fixed = sized is None
    own = {size: [one for one in sized or () if one.labels == size] for size in sizes[:-1]}
    tables = {size: whole if fixed else _read(folder, own[size]) for size in sizes[:-1]} | {sizes[-1]: whole}
    return _Grown(final[0].candidate, _labels_of(final), tables, fixed)


def _read(folder: StudyFolder, trials: Iterable[TrialRecord]) -> Tables:
    finished = [one for one in trials if one.status == "finished" and SPLIT in one.scores]
    tables = {one.seed: read_table(folder, one.id, SPLIT) for one in finished}
    return {seed: table for seed, table in tables.items() if table is not None}


def _labels_of(trials: Iterable[TrialRecord]) -> list[str]:
    classes = (one.scores[SPLIT].classes for one in trials if SPLIT in one.scores)
    return [own.label for own in next(classes, [])]


def _compare(first: _Grown, second: _Grown, metric: str) -> SizeComparison:
    scores = {size: (first.score(size, metric), second.score(size, metric)) for size in first.tables}
    return compare_over_sizes(first.candidate, second.candidate, scores, binary=METRICS[metric].binary)


def _draw(one: _Grown, metric: MetricHead) -> SizeCurve:
    drawn = ((size, list(tables.values())) for size, tables in one.tables.items() if tables)
    points = [_point(one, size, tables, metric) for size, tables in drawn]
    return SizeCurve(candidate=one.candidate, fixed=one.fixed, points=[point for point in points if point is not None])


def _point(one: _Grown, size: int, tables: Sequence[Predictions], metric: MetricHead) -> SizePoint | None:
    sample = collect_sample(one.candidate, tables, one.labels, metric.name)
    if sample is None:
        return None
    low, high = estimate_single(sample).interval()
    if metric.direction == "lower":
        return SizePoint(size=size, mean=-sample.total, low=-high, high=-low, chains=len(tables))
    return SizePoint(size=size, mean=sample.total, low=low, high=high, chains=len(tables))


def _tell_crossings(compared: Iterable[SizeComparison]) -> Iterator[str]:
    """Say between which sizes one candidate overtakes another; where in between is not known."""
    for one in compared:
        for bracket in one.brackets:
            yield (
                f"{bracket.after} overtakes {bracket.before} between {bracket.low:,} and {bracket.high:,} labelled "
                f"rows: {bracket.before} is shown better at {bracket.low:,}, {bracket.after} at {bracket.high:,}."
            )


def _tell_leads(compared: Sequence[SizeComparison]) -> Iterator[str]:
    """Count what else was found, so that silence is not taken for agreement."""
    crossed = sum(bool(one.brackets) for one in compared)
    ahead = sum(not one.brackets and any(gap.ahead for gap in one.gaps) for one in compared)
    open_ = len(compared) - crossed - ahead
    if compared:
        yield (
            f"Of {len(compared)} pairs of candidates {crossed} are shown to change places, in {ahead} one is shown "
            f"better at some sizes and the other at none, and in {open_} nothing is shown at any size."
        )


def _tell_thin(grown: Iterable[_Grown]) -> Iterator[str]:
    for one in grown:
        thin = [size for size, tables in one.tables.items() if len(tables) < LEAST_CHAINS]
        if thin:
            rows = enumerate_words([f"{size:,}" for size in thin])
            yield f"{one.candidate} has fewer than {LEAST_CHAINS} chains at {rows} rows; nothing is called there."
