"""Scores by type of question: the source's own kinds, COCO-QA's four types and TDIUC's twelve.

Types are computed from questions and gold answers whenever a report is drawn; no record holds them. Two candidates are
compared on each type by the paired difference over its rows; the interval is widened so that those of all types of a
pair hold together (Bonferroni), and one is called better only where that interval leaves out 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from whichtune.errors import InputError, did_you_mean
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.report.figures import format_amount, format_score
from whichtune.report.groups import describe_score, take_rows
from whichtune.report.model import MetricHead, TypeHead, TypePair, TypeScore, TypeTable
from whichtune.report.stored import read_columns
from whichtune.stats.intervals import CandidateSample, estimate_difference
from whichtune.stats.metrics import METRICS
from whichtune.stats.question_types import TAXONOMIES
from whichtune.stats.samples import collect_sample

QUESTIONS = "visual-question-answering"
"""The task whose rows hold a question about an image."""
SOURCE = "source"
GROUPINGS = (SOURCE, *TAXONOMIES)
"""What rows can be grouped by, as `report --by` names it."""
TITLES = {SOURCE: "the source's kinds", "coco-qa": "COCO-QA's types", "tdiuc": "TDIUC's types"}
SPLITS = ("train", "validation", "test")

TypeSamples = Mapping[str, tuple[int, CandidateSample | None]]
"""Type to its rows and, from two rows on, a candidate's sample on them."""


@dataclass(frozen=True)
class Kinds:
    """One way of grouping rows: the type of each and how often types occur."""

    name: str
    order: tuple[str, ...]
    """Types that occur, in the order in which they are shown."""
    of: Mapping[str, str]
    """Row id to type."""
    counts: Mapping[str, Mapping[str, int]]
    """Type to split to rows."""


def read_kinds(folder: StudyFolder) -> dict[str, Kinds]:
    """Return every grouping that a study's questions have; nothing where its examples cannot be read."""
    held = read_columns(folder, ("id", "split", "text", "gold", "group"))
    if not {"id", "split", "text", "gold"} <= held.keys():
        return {}
    found: dict[str, Kinds] = {}
    own = held.get("group", [])
    if any(each is not None for each in own):
        found[SOURCE] = _count_kinds(SOURCE, sorted({each or "" for each in own}), [each or "" for each in own], held)
    for name, (order, rule) in TAXONOMIES.items():
        kind_of = cache(rule)
        kinds = [kind_of(text or "", gold or "") for text, gold in zip(held["text"], held["gold"], strict=True)]
        found[name] = _count_kinds(name, order, kinds, held)
    return found


def find_kinds(folder: StudyFolder, task: str, by: str | None = None) -> list[Kinds]:
    """Return the groupings of a study's questions, or say why the one asked for is none of them."""
    found = read_kinds(folder) if task == QUESTIONS else {}
    if by is not None and by not in found:
        remedy = f"types of questions belong to studies of the task {QUESTIONS}" if task != QUESTIONS else ""
        remedy = remedy or did_you_mean(by, found) or "the study's examples.parquet holds no such groups"
        raise InputError("--by", value=by, allowed=", ".join(found) or "nothing here", remedy=remedy)
    return list(found.values())


def _count_kinds(name: str, order: Iterable[str], kinds: Sequence[str], held: Mapping[str, list[str]]) -> Kinds:
    counted = Counter(zip(kinds, held["split"], strict=True))
    counts = {kind: {split: counted[kind, split] for split in SPLITS if counted[kind, split]} for kind in order}
    seen = tuple(kind for kind in counts if counts[kind])
    return Kinds(name, seen, dict(zip(held["id"], kinds, strict=True)), {kind: counts[kind] for kind in seen})


def sample_types(
    name: str, tables: Sequence[Predictions], labels: Sequence[str], metric: str | None, kinds: Kinds
) -> dict[str, tuple[int, CandidateSample | None]]:
    """Return a candidate's sample on the rows of each type that the split has."""
    if metric is None or metric not in METRICS:
        return {}
    places = [[(kinds.of.get(row), place) for place, row in enumerate(table.ids)] for table in tables]
    found: dict[str, tuple[int, CandidateSample | None]] = {}
    for kind in kinds.order:
        own = [[place for each, place in rows if each == kind] for rows in places]
        if own and own[0]:
            parts = [take_rows(table, rows) for table, rows in zip(tables, own, strict=True)]
            found[kind] = len(own[0]), collect_sample(name, parts, labels, metric)
    return found


def tabulate_types(kinds: Kinds, samples: Mapping[str, TypeSamples], metric: MetricHead, bars: set[str]) -> TypeTable:
    """Return the scores of all candidates by type, and their pairs; baselines are not compared with each other."""
    seen = {kind: rows for own in samples.values() for kind, (rows, _) in own.items()}
    types = [
        TypeHead(type=kind, rows=seen.get(kind, 0), rows_by_split=dict(kinds.counts[kind])) for kind in kinds.order
    ]
    scores = [
        _describe(kind, name, own[kind][1], metric)
        for kind in kinds.order
        for name, own in samples.items()
        if kind in own
    ]
    compared = [kind for kind in kinds.order if kind in seen]
    pairs = [
        pair
        for first, second in combinations(samples, 2)
        if not {first, second} <= bars
        for pair in _compare(first, second, (samples[first], samples[second]), compared, metric)
    ]
    return TypeTable(
        grouping=kinds.name,
        title=TITLES[kinds.name],
        metric=metric,
        types=types,
        scores=scores,
        pairs=pairs,
        adjusted_for=len(compared),
    )


def _describe(kind: str, name: str, sample: CandidateSample | None, metric: MetricHead) -> TypeScore:
    mean, low, high = describe_score(sample, metric)
    return TypeScore(type=kind, candidate=name, mean=mean, low=low, high=high)


def _compare(
    first: str,
    second: str,
    samples: tuple[TypeSamples, TypeSamples],
    kinds: Sequence[str],
    metric: MetricHead,
) -> Iterable[TypePair]:
    for kind in kinds:
        ours, theirs = (own.get(kind, (0, None))[1] for own in samples)
        if ours is None or theirs is None:
            continue
        estimate = estimate_difference(ours, theirs)
        low, high = estimate.interval(1 - 0.05 / len(kinds))
        better = first if low > 0 else second if high < 0 else None
        yield TypePair(
            type=kind,
            first=first,
            second=second,
            difference=estimate.value,
            low=low,
            high=high,
            better=better,
            sentence=_say(better, estimate.value, (low, high), metric.unit),
        )


def _say(better: str | None, value: float, interval: tuple[float, float], unit: str) -> str:
    if better is None:
        return "not settled"
    low, high = interval if value > 0 else (-interval[1], -interval[0])
    told = format_amount(abs(value), unit)
    return f"{better} better by {told} ({format_score(low, unit)}..{format_score(high, unit)})"
