"""Scores of each candidate with their intervals, and the pairs of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean, stdev

import numpy as np

from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import MetricValue, TrialRecord
from whichtune.report.by_type import Kinds, sample_types
from whichtune.report.figures import format_amount, format_score
from whichtune.report.groups import GroupScores, group_metric_of, sample_groups
from whichtune.report.model import MetricHead, PairRow, Quality
from whichtune.report.stored import read_table
from whichtune.stats.intervals import CandidateSample, estimate_single
from whichtune.stats.metrics import METRICS
from whichtune.stats.pairs import Pair, compare_pair, margin_amount, phrase
from whichtune.stats.samples import collect_sample

SPLIT = "test"
"""The split whose scores a report shows unless another is asked for."""
AGREEMENT = 1e-4
"""How far a recorded score may be from the one its predictions give: they are kept in float32."""


@dataclass
class Evidence:
    """What the scores of one candidate rest on."""

    trials: list[TrialRecord]
    """Finished, with scores on the split."""
    split: str = SPLIT
    samples: dict[str, CandidateSample] = field(default_factory=dict)
    """Metric to sample, where there is an interval."""
    reason: str | None = None
    """Why there is no sample at all."""
    blank: dict[str, str] = field(default_factory=dict)
    """Metric to the reason why it has no value."""
    asked: dict[str, float] = field(default_factory=dict)
    """Means a row of what asking took: `tokens_in`, `tokens_out`, `item_seconds`, where every trial kept them."""
    groups: GroupScores = field(default_factory=dict)
    """Group to rows and sample, where rows have groups."""
    types: dict[str, GroupScores] = field(default_factory=dict)
    """Grouping of questions to type to rows and sample."""

    def value(self, trial: TrialRecord, name: str) -> float | None:
        """Return the recorded score of one trial."""
        return next((one.value for one in trial.scores[self.split].metrics if one.name == name), None)

    def higher(self, name: str) -> bool:
        """Whether more of the metric is better."""
        found: list[MetricValue] = [one for one in self.trials[0].scores[self.split].metrics if one.name == name]
        return found[0].direction != "lower"

    @property
    def unreadable(self) -> float | None:
        """Share of answers that could not be read, mean over trials."""
        shares = [one.scores[self.split].unparsed_share for one in self.trials]
        return fmean(shares) if shares else None


def gather_evidence(
    folder: StudyFolder, trials: Sequence[TrialRecord], split: str = SPLIT, kinds: Iterable[Kinds] = ()
) -> Evidence:
    """Read a candidate's predictions and reduce them to one sample a metric, a group and a type of question."""
    finished = [one for one in trials if one.status == "finished" and split in one.scores]
    evidence = Evidence(finished, split)
    if not evidence.trials:
        return evidence
    tables: list[Predictions] = []
    for one in evidence.trials:
        table = read_table(folder, one.id, split)
        if table is None:
            evidence.reason = f"no {split} predictions of trial {one.id} on disk"
            return evidence
        tables.append(table)
    evidence.asked = dict(average_asking(tables))
    evidence.blank = dict(explain_blanks(tables))
    _add_samples(evidence, tables, kinds)
    return evidence


def average_asking(tables: Sequence[Predictions]) -> Iterator[tuple[str, float]]:
    """Yield the means a row of what asking took, over all trials of a candidate."""
    named = {"tokens_in": "tokens_in", "tokens_out": "tokens_out", "item_seconds": "batch_seconds"}
    for name, column in named.items():
        values = [None if own is None else float(np.mean(own)) for own in (getattr(one, column) for one in tables)]
        known = [value for value in values if value is not None and math.isfinite(value)]
        if known and len(known) == len(values):
            yield name, fmean(known)


def explain_blanks(tables: Sequence[Predictions]) -> Iterator[tuple[str, str]]:
    """Yield each metric that some predictions have nothing for, and what they lack."""
    if any(one.ids and np.isnan(one.loss).all() for one in tables):
        yield "loss", "it gives the right answers no likelihood"
    if any(one.ids and np.isnan(one.confidence).all() for one in tables):
        yield "calibration_error", "its answers carry no confidence"
    if any(one.ids and one.gold_rank is None for one in tables):
        yield "top5_accuracy", "its answers do not rank the labels"
    if any(one.probabilities is None or not np.isfinite(one.probabilities).all() for one in tables):
        yield "likelihood_accuracy", "it gives the labels no likelihood"


def _add_samples(evidence: Evidence, tables: Sequence[Predictions], kinds: Iterable[Kinds]) -> None:
    name, scores = evidence.trials[0].candidate, evidence.trials[0].scores[evidence.split]
    labels = [one.label for one in scores.classes] or list(tables[0].labels)
    for metric in scores.metrics:
        known = metric.name in METRICS
        sample = collect_sample(name, tables, labels, metric.name) if known else None
        if sample is not None:
            evidence.samples[metric.name] = sample
    grouped_by = group_metric_of([one.name for one in scores.metrics])
    evidence.groups = sample_groups(name, tables, labels, grouped_by)
    evidence.types = {one.name: sample_types(name, tables, labels, grouped_by, one) for one in kinds}


def list_metrics(trials: Iterable[TrialRecord], split: str = SPLIT) -> list[MetricHead]:
    """Return the metrics of a study's trials, the first one first."""
    values = next((one.scores[split].metrics for one in trials if split in one.scores), [])
    return [
        MetricHead(name=one.name, title=title_of(one.name), direction=one.direction, unit=one.unit) for one in values
    ]


def describe_quality(evidence: Evidence, metric: MetricHead) -> Quality:
    """Return a candidate's mean, interval and seed spread on one metric."""
    found = {one.seed: evidence.value(one, metric.name) for one in evidence.trials}
    known = [value for value in found.values() if value is not None]
    quality = Quality(metric=metric.name, by_seed=found)
    if not known or len(known) < len(found):
        quality.reason = evidence.blank.get(metric.name, "not a finite number")
        return quality
    quality.mean = fmean(known)
    quality.seed_deviation = stdev(known) if len(known) > 1 else None
    sample = evidence.samples.get(metric.name)
    if sample is None:
        quality.reason = evidence.reason or "it has no scores of single rows"
    else:
        _add_interval(quality, sample, metric)
    return quality


def find_disagreements(evidence: Evidence) -> Iterator[str]:
    """Say where recorded scores are not those of the predictions on disk."""
    for name, sample in evidence.samples.items():
        values = [evidence.value(one, name) for one in evidence.trials]
        recorded = fmean(value for value in values if value is not None) if None not in values else math.nan
        computed = sample.total if evidence.higher(name) else -sample.total
        if not math.isclose(recorded, computed, rel_tol=AGREEMENT, abs_tol=AGREEMENT):
            yield f"{sample.name}: {title_of(name)} is {recorded:.4f} by its records, {computed:.4f} by its predictions"


def compare_all(
    evidence: Mapping[str, Evidence], metric: MetricHead, margin: float
) -> tuple[list[PairRow], float | None]:
    """Compare every two candidates on one metric; return the pairs and the margin in units of the metric."""
    samples = [one.samples[metric.name] for one in evidence.values() if metric.name in one.samples]
    if not samples:
        return [], None
    samples.sort(key=lambda sample: -sample.total)
    amount = margin_amount(METRICS[metric.name], margin, samples)
    return [describe_pair(compare_pair(*both, amount), metric) for both in combinations(samples, 2)], amount


def describe_pair(pair: Pair, metric: MetricHead) -> PairRow:
    """Return a pair with its interval and its sentence."""
    low, high = pair.difference.interval()
    decimals = _decimals(high - low, metric.unit)
    own = pair.difference
    return PairRow(
        first=pair.first,
        second=pair.second,
        difference=own.value,
        low=low,
        high=high,
        df=None if math.isinf(own.df) else own.df,
        p_value=own.p_value,
        item_variance=own.item_variance,
        seed_variance=own.seed_variance,
        call=pair.call,
        sentence=phrase(
            pair.call,
            format_amount(own.value, metric.unit, decimals),
            format_score(low, metric.unit, decimals),
            format_score(high, metric.unit, decimals),
            format_margin(pair.margin, metric.unit),
        ),
    )


def format_margin(amount: float, unit: str) -> str:
    """Write a margin without digits that it does not have."""
    if unit != "share":
        return f"{amount:.3g} {unit}"
    points = f"{100 * amount:.4g}"
    return f"{points} {'point' if points == '1' else 'points'}"


def _add_interval(quality: Quality, sample: CandidateSample, metric: MetricHead) -> None:
    estimate = estimate_single(sample)
    low, high = estimate.interval()
    higher = metric.direction != "lower"
    quality.mean = sample.total if higher else -sample.total
    quality.low, quality.high = (low, high) if higher else (-high, -low)
    quality.df = None if math.isinf(estimate.df) else estimate.df
    quality.flip_deviation = math.sqrt(sample.flip_variance) if sample.seeds > 1 else None


def title_of(name: str) -> str:
    """Return a metric's name as a person reads it."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def _decimals(width: float, unit: str) -> int | None:
    """One digit more where the interval is so narrow that its ends would look alike."""
    narrow = {"share": 0.002, "nats": 0.002}.get(unit, 0.0)
    return {"share": 2, "nats": 5}.get(unit) if width < narrow else None
