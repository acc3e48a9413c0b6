"""Held and tuned settings apart, and what the study rests on; from the trials' records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from whichtune.records.trial import TrialRecord
from whichtune.report.figures import DASH, enumerate_words
from whichtune.report.model import Comparison
from whichtune.report.notes import flatten
from whichtune.report.sections import ListSection, Section, TableSection

NOT_SETTINGS = {"on", "training", "grid"}
MOST_VALUES = 12

Settings = dict[str, list[str]]
"""Dotted name to the values that occur, in the order in which they do."""


def lay_out_settings(comparison: Comparison, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield what was equal for all, what was tried in several settings, and what was fixed for each method."""
    held = _gather((one.training for one in trials if one.training is not None), ())
    yield TableSection(
        "Held: equal for every method",
        ("setting", "value"),
        [(name, values[0]) for name, values in held.items() if len(values) == 1],
    )
    yield TableSection(
        "Held, but not equal",
        ("setting", "values"),
        [(name, enumerate_words(values, MOST_VALUES)) for name, values in held.items() if len(values) > 1],
    )
    yield ListSection("Held settings that a method changed: the comparison is unequal", comparison.unequal)
    by_method = _by_method(trials)
    tuned: list[tuple[str, ...]] = []
    fixed: list[tuple[str, ...]] = []
    for method, own in by_method.items():
        for name, values in own.items():
            several = len(values) > 1
            (tuned if several else fixed).append((method, name, enumerate_words(values, MOST_VALUES)))
    yield TableSection("Tuned: tried in several settings", ("method", "setting", "values tried"), tuned)
    untuned = [method for method in by_method if not any(row[0] == method for row in tuned)]
    yield ListSection("Nothing tuned", [f"One setting each: {enumerate_words(untuned, 20)}"] if untuned else [])
    yield TableSection("Fixed for each method", ("method", "setting", "value"), fixed)


def lay_out_provenance(trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield when, where and from what the records were made; different values stand beside each other."""
    finished = [one for one in trials if one.status == "finished"] or list(trials)
    started = min((one.started_at for one in trials), default="")
    ended = max((one.ended_at for one in trials if one.ended_at), default="")
    seeds = sorted({one.seed for one in finished if not one.deterministic})
    general = [
        ("first trial started", started or DASH),
        ("last trial ended", ended or DASH),
        ("seeds", enumerate_words(map(str, seeds), 20) or DASH),
        ("protocol", enumerate_words(sorted({str(one.protocol) for one in trials}))),
    ]
    yield TableSection("Made", ("what", "value"), general if trials else [])
    for title, groups in (
        ("Machine", (one.device for one in finished)),
        ("Code", (one.git or {} for one in finished)),
        ("Fingerprints", (one.fingerprints for one in finished)),
        ("Versions", (one.versions for one in finished)),
    ):
        found = _gather(groups, ())
        yield TableSection(title, ("what", "value"), [(name, enumerate_words(own, 4)) for name, own in found.items()])


def _by_method(trials: Iterable[TrialRecord]) -> dict[str, Settings]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for one in trials:
        grouped.setdefault(one.method, []).append(one.settings)
    return {method: _gather(own, NOT_SETTINGS) for method, own in grouped.items()}


def _gather(groups: Iterable[Mapping[str, Any]], without: Iterable[str]) -> Settings:
    found: Settings = {}
    left_out = set(without)
    for own in groups:
        for name, value in flatten({key: each for key, each in own.items() if key not in left_out}):
            told = _write(value)
            values = found.setdefault(name, [])
            if told not in values:
                values.append(told)
    return found


def _write(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value)
