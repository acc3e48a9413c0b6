"""What a report says beside its figures: data, shared costs, traps, unequal settings, published figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from whichtune.errors import RecordError
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.report.costs import COLUMNS
from whichtune.report.figures import count_of, enumerate_words
from whichtune.report.model import CandidateRow, Figure, PairRow, Published, SharedCost, Trap, TrialRow
from whichtune.spec.study import ReferenceSpec


def list_unfinished(trials: Iterable[TrialRecord]) -> list[TrialRow]:
    """Return each trial without a result, with the reason."""
    return [
        TrialRow(id=one.id, candidate=one.candidate, seed=one.seed, status=one.status, reason=explain(one))
        for one in trials
        if one.status != "finished"
    ]


def explain(trial: TrialRecord, split: str = "test") -> str:
    """Say why a trial has no result on a split."""
    if trial.failure is not None:
        told = trial.failure.message or "no message"
        return told if trial.status in {"unsupported", "does-not-fit"} else f"{trial.failure.kind}: {told}"
    if trial.status == "running":
        return f"still running, or stopped before its end; started {trial.started_at}"
    return f"it has no scores on the {split} split" if trial.status == "finished" else "no reason was recorded"


def explain_all(trials: Iterable[TrialRecord], split: str = "test") -> str:
    """Say why a candidate has no result on a split at all."""
    return "; ".join(dict.fromkeys(explain(one, split) for one in trials))


def list_unequal(trials: Iterable[TrialRecord]) -> list[str]:
    """Return one line a method that changed held settings."""
    changed = {one.method: one.overrides for one in trials if one.overrides}
    return [
        f"{method}: {', '.join(f'{name} = {json.dumps(value)}' for name, value in flatten(overrides))}"
        for method, overrides in changed.items()
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested settings under their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def list_traps(trials: Iterable[TrialRecord]) -> list[Trap]:
    """Return each trap once, with the trials that saw it."""
    seen: dict[str, list[str]] = {}
    for one in trials:
        for sentence in dict.fromkeys(one.traps):
            seen.setdefault(sentence, []).append(name_trial(one))
    return [Trap(sentence=sentence, where=where) for sentence, where in seen.items()]


def list_unlearned(rows: Sequence[CandidateRow], pairs: Sequence[PairRow]) -> list[Trap]:
    """Flag each candidate that is not shown to be better than every baseline it was compared with by the same rows.

    A model that always gives one answer is flagged by its trial; this one tells of the rest, such as a soft prompt
    that answers both ways and is right no more often than the most frequent label.
    """
    shown = {(pair.first, pair.second) for pair in pairs if pair.call.startswith("better")}
    compared = {name for pair in pairs for name in (pair.first, pair.second)}
    others = [row.candidate for row in rows if row.quality and not row.baseline]
    traps: list[Trap] = []
    for base in (row.candidate for row in rows if row.quality and row.baseline and row.quality[0].mean is not None):
        silent = [one for one in others if base not in compared or one not in compared]
        below = [one for one in others if one not in silent and (one, base) not in shown]
        traps += [Trap(sentence=f"not shown to be better than {base}", where=below)] if below else []
        traps += [Trap(sentence=f"cannot be compared with {base} row by row", where=silent)] if silent else []
    return traps


def name_trial(trial: TrialRecord) -> str:
    """Name a trial by its candidate and, where that can differ, its seed."""
    return trial.candidate if trial.deterministic else f"{trial.candidate} seed {trial.seed}"


def list_outside(folder: StudyFolder) -> list[str]:
    """Say that the folder holds trials of other settings, which no table shows."""
    count = folder.count_outside()
    told = f"{count_of(count, 'trial')} of other settings in this folder: no table shows them, the study has changed"
    return [told] if count else []


def list_record_notes(trials: Sequence[TrialRecord]) -> list[str]:
    """Say what makes costs incomparable or leaves adapters unproved."""
    notes: list[str] = []
    finished = [one for one in trials if one.status == "finished" and one.known_family != "baseline"]
    places = {f"{one.device.get('name', '?')}, {one.device.get('threads', '?')} threads" for one in finished}
    if len(places) > 1:
        notes.append(f"Trials ran in different places, so their times cannot be compared: {'; '.join(sorted(places))}")
    unchecked = [one for one in finished if not one.checked and one.known_family == "tuner"]
    if unchecked:
        why = enumerate_words(dict.fromkeys(one.unmeasured.get("checked", "no reason recorded") for one in unchecked))
        notes.append(f"{count_of(len(unchecked), 'adapter')} not checked in a clean process: {why}")
    return notes


def list_waiting(count: int) -> list[str]:
    """Say that there is no verdict before every trial is over."""
    return [f"No verdict yet: {count_of(count, 'trial')} not over."] if count else []


def list_cuts(trials: Iterable[TrialRecord]) -> list[str]:
    """Say how many texts were cut to how many tokens, once for all trials that share it."""
    seen: dict[str, list[str]] = {}
    for one in trials:
        cut = [_tell_cut(one, split, count) for split, count in one.cuts.items() if count]
        if cut:
            length = None if one.training is None else one.training.get("max_length", "?")
            fit = "to fit the prompt" if length is None else f"to {length} tokens"
            told = f"Texts cut {fit}: {', '.join(cut)}"
            seen.setdefault(told, []).append(one.backbone or one.candidate)
    return [f"{told} ({enumerate_words(dict.fromkeys(where))})" for told, where in seen.items()]


def _tell_cut(trial: TrialRecord, split: str, count: int) -> str:
    origins = trial.cut_origins.get(split, [])
    more = ", ..." if count > len(origins) else ""
    return f"{count} {split} ({', '.join(origins)}{more})" if origins else f"{count} {split}"


def read_data_notes(folder: StudyFolder) -> list[str]:
    """Return what was seen while the data were read, a line each; nothing where no such file was kept."""
    if not folder.data_report.is_file():
        return []
    try:
        held = json.loads(folder.data_report.read_text(encoding="utf-8"))
        return list(_data_lines(held))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "run the study again; it rewrites the file"
        raise RecordError(f"{folder.data_report}: not a readable data report", remedy=remedy) from error


def _data_lines(held: Mapping[str, Any]) -> Iterator[str]:
    yield f"Source: {held['source']}"
    for split, labels in held.get("balance", {}).items():
        rows = sum(labels.values())
        shares = [f"{label} {100 * count / rows:.0f} %" for label, count in labels.items() if rows]
        yield f"{split}: {count_of(rows, 'row')} ({enumerate_words(shares)})"
    for one in held.get("dropped", ()):
        where = f", first {enumerate_words(one['origins'], 3)}" if one.get("origins") else ""
        yield f"Left out of {one['split']}: {count_of(one['count'], 'row')} ({one['reason']}{where})"
    for one in held.get("duplicates", ()):
        first, second = one["splits"]
        where = f"within {first}" if first == second else f"of {first} also in {second}"
        near = "" if one["near"] is None else f", {one['near']:,} near"
        yield f"Duplicates {where}: {one['exact']:,} exact{near}"
    for name, encoding in held.get("encodings", {}).items():
        yield f"{name} was read as {encoding}"
    yield from held.get("notes", ())


def sum_shared_costs(folder: StudyFolder) -> list[SharedCost]:
    """Add up what trials shared, by what it was."""
    sums: dict[str, list[float]] = {}
    for line in folder.read_costs():
        seconds = line.get("seconds")
        if isinstance(seconds, int | float):
            sums.setdefault(str(line.get("what", "other")), []).append(float(seconds))
    return [SharedCost(what=what, seconds=sum(each), times=len(each)) for what, each in sums.items()]


def add_published(rows: Iterable[CandidateRow], references: Mapping[str, ReferenceSpec]) -> None:
    """Put published figures beside ours."""
    for row in rows:
        row.published = list_published(row, references)


def list_published(row: CandidateRow, references: Mapping[str, ReferenceSpec]) -> list[Published]:
    """Return the published figures of a candidate; those of the whole name come before those of the method."""
    without_settings = row.candidate.partition("[")[0] + (f"@{row.backbone}" if row.backbone else "")
    names = (row.candidate, without_settings, row.candidate.partition("@")[0], row.method)
    chosen = next((references[name] for name in names if name in references), None)
    if chosen is None:
        return []
    return [
        Published(name=name, published=value, ours=_ours(row, name), source=chosen.source)
        for name, value in chosen.values.items()
    ]


def _ours(row: CandidateRow, name: str) -> float | None:
    if name in COLUMNS:
        figure: Figure = getattr(row.costs, name)
        return figure.value
    return next((one.mean for one in row.quality if one.metric == name), None)
