"""Two studies or trials beside each other: candidates paired over rows that are the same, refused where they are not.

Of two studies, candidates of one name are paired, and the best of each. A trial is paired with another trial, or with
every candidate of a study. Rows are the same if ids, contents and gold answers are; training data and settings may
differ, which is what a comparison is for. Trainings must not be shared: a training differs from itself by nothing, and
that says nothing about methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from whichtune.errors import RecordError
from whichtune.records.folder import StudyFolder, TrialFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import TrialRecord
from whichtune.report.compare_model import Crossing, Scored, Setting, Side, Unpaired, Versus
from whichtune.report.figures import count_of
from whichtune.report.groups import describe_score
from whichtune.report.model import MetricHead
from whichtune.report.notes import flatten
from whichtune.report.quality import SPLIT, describe_pair, list_metrics
from whichtune.report.sentences import compare_models, need_third
from whichtune.report.stored import group_trials, read_columns, read_table
from whichtune.report.waiting import is_withheld
from whichtune.spec.read import load_stored_study
from whichtune.stats.intervals import CandidateSample
from whichtune.stats.metrics import METRICS
from whichtune.stats.pairs import compare_pair, margin_amount
from whichtune.stats.samples import collect_sample

CONTENT = ("text", "pair", "image_sha256")
"""Columns of an example that decide what is asked; its gold answer stands in the predictions."""
NOT_ASKED = {"name", "scales", "reference", "trackers"}
"""Parts of a study that say nothing about its outcome."""
PLAIN_PAIRS = "Each interval stands alone, at 95 %: of many pairs a few are called different by chance."


@dataclass(frozen=True)
class Entry:
    """A candidate with its finished trials on a split."""

    candidate: str
    trials: tuple[TrialRecord, ...]
    tables: tuple[Predictions, ...]

    @property
    def ids(self) -> set[str]:
        """Ids of its trials."""
        return {one.id for one in self.trials}


@dataclass(frozen=True)
class Opened:
    """A study or a trial with what it predicted."""

    name: str
    folder: StudyFolder
    records: tuple[TrialRecord, ...]
    split: str = SPLIT
    trial: bool = False

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Candidates with predictions on the split."""
        grouped = group_trials(one for one in self.records if one.status == "finished" and self.split in one.scores)
        found = {name: self._read(name, trials) for name, trials in grouped.items()}
        return {name: entry for name, entry in found.items() if entry is not None}

    @cached_property
    def contents(self) -> dict[str, tuple[object, ...]]:
        """Row to what was asked; nothing where the examples are not there."""
        held = read_columns(self.folder, ("id", *CONTENT), self.split)
        if "id" not in held:
            return {}
        columns = [held.get(name, [None] * len(held["id"])) for name in CONTENT]
        return dict(zip(held["id"], zip(*columns, strict=True), strict=True))

    @property
    def place(self) -> tuple[str, str]:
        """Where it lies: the study's folder, and the trial in it if it is one."""
        return str(self.folder.path.resolve()), self.records[0].id if self.trial else ""

    @property
    def rows(self) -> Predictions:
        """The predictions of its first trial."""
        return next(iter(self.entries.values())).tables[0]

    @property
    def side(self) -> Side:
        """What is told of it."""
        study = self.records[0].study if self.records else self.folder.path.name
        return Side(name=self.name, what="trial" if self.trial else "study", study=study, candidates=list(self.entries))

    def sample(self, entry: Entry, metric: str) -> CandidateSample | None:
        """Return a candidate's scores."""
        labels = [one.label for one in entry.trials[0].scores[self.split].classes] or list(entry.tables[0].labels)
        return collect_sample(entry.candidate, entry.tables, labels, metric)

    def _read(self, name: str, trials: Sequence[TrialRecord]) -> Entry | None:
        tables = (read_table(self.folder, one.id, self.split) for one in trials)
        known = tuple(table for table in tables if table is not None)
        return Entry(name, tuple(trials), known) if len(known) == len(trials) else None


def open_study(name: str, folder: StudyFolder, split: str = SPLIT) -> Opened:
    """Open a study's final trials."""
    _require_over(folder, split)
    return Opened(name, folder, tuple(folder.read_trials()), split)


def open_trial(name: str, trial: TrialFolder, split: str = SPLIT) -> Opened:
    """Open one trial in its study's folder."""
    folder = StudyFolder(trial.path.parent.parent)
    _require_over(folder, split)
    return Opened(name, folder, (trial.read(),), split, trial=True)


def _require_over(folder: StudyFolder, split: str) -> None:
    """Refuse the test scores of a study that may still ask for trainings."""
    if is_withheld(folder, split):
        remedy = "finish it with `whichtune run`, or compare on `--split validation`"
        raise RecordError(f"{folder.path}: test scores are read once all trainings of a study are in", remedy=remedy)


def compare_two(first: Opened, second: Opened, margin: float | None = None) -> Versus:
    """Compare what two studies or trials predicted; the margin is the first one's unless given, in points.

    Raises RecordError where nothing can be compared, with the reason.
    """
    for one in (first, second):
        _require_scores(one)
    _require_same_rows(first, second)
    metric = _find_metric(first, second)
    samples = [
        {name: side.sample(entry, metric.name) for name, entry in side.entries.items()} for side in (first, second)
    ]
    known = [sample for own in samples for sample in own.values() if sample is not None]
    points = _find_margin(first) if margin is None else margin
    versus = Versus(
        first=first.side,
        second=second.side,
        split=first.split,
        rows=len(first.rows.ids),
        metric=metric,
        margin=points,
        margin_amount=margin_amount(METRICS[metric.name], points, known),
        settings=list(_list_differences(first, second)),
    )
    for names in _choose_pairs(first, second, samples):
        _add(versus, (first.entries[names[0]], second.entries[names[1]]), (samples[0][names[0]], samples[1][names[1]]))
    versus.unpaired += _list_alone(versus, first, second)
    versus.scope = list(_list_scope(versus, first, second))
    return versus


def _require_scores(one: Opened) -> None:
    if one.entries:
        return
    searched = any(record.role == "search" for record in one.records)
    remedy = "a search trial predicts no test rows; `--split validation`" if searched and one.split == SPLIT else ""
    raise RecordError(
        f"{one.name}: nothing finished with predictions of the {one.split} split", remedy=remedy or "run it first"
    )


def _require_same_rows(first: Opened, second: Opened) -> None:
    """Refuse rows that differ by id, content or gold answer, with the number of those that do."""
    golds = [dict(zip(one.rows.ids, one.rows.gold, strict=True)) for one in (first, second)]
    shared = golds[0].keys() & golds[1].keys()
    what = f"{first.name} and {second.name} cannot be paired"
    remedy = "compare studies of the same data and split"
    if len(shared) < max(len(golds[0]), len(golds[1])):
        told = f"{len(golds[0]):,} and {len(golds[1]):,} {first.split} rows, {len(shared):,} of them shared"
        raise RecordError(what, value=told, remedy=remedy)
    changed = sum(golds[0][row] != golds[1][row] for row in shared)
    if changed:
        told = f"{count_of(changed, 'row')} of {len(shared):,} with another gold answer"
        raise RecordError(what, value=told, remedy=remedy)
    both = first.contents.keys() & second.contents.keys() & shared
    changed = sum(first.contents[row] != second.contents[row] for row in both)
    if changed:
        raise RecordError(what, value=f"{count_of(changed, 'row')} of {len(both):,} ask something else", remedy=remedy)


def _find_metric(first: Opened, second: Opened) -> MetricHead:
    """Return the first side's own metric, if the second is scored by it too and single rows have scores."""
    heads = [list_metrics((trial for entry in one.entries.values() for trial in entry.trials), one.split)
             for one in (first, second)]  # fmt: skip
    own = heads[0][0]
    if own.name not in {head.name for head in heads[1]}:
        told = f"{first.name} is scored by {own.name}, {second.name} by {', '.join(head.name for head in heads[1])}"
        raise RecordError(f"{first.name} and {second.name} have no metric in common", value=told)
    if own.name not in METRICS or not METRICS[own.name].per_item:
        raise RecordError(f"{own.name}: single rows have no scores by it, so nothing can be paired")
    return own


def _find_margin(one: Opened) -> float:
    return load_stored_study(one.folder.spec)[0].margin if one.folder.spec.is_file() else 2.0


def _choose_pairs(
    first: Opened, second: Opened, samples: Sequence[Mapping[str, CandidateSample | None]]
) -> list[tuple[str, str]]:
    """Return the pairs of names: all where one side is a trial, else those of one name, then the best of each."""
    if first.trial or second.trial:
        return [(one, other) for one in first.entries for other in second.entries]
    alike = [(name, name) for name in first.entries if name in second.entries]
    best = [_best(own) for own in samples]
    if best[0] is None or best[1] is None or (best[0], best[1]) in alike:
        return alike
    return [*alike, (best[0], best[1])]


def _best(samples: Mapping[str, CandidateSample | None]) -> str | None:
    known = {name: sample.total for name, sample in samples.items() if sample is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _add(
    versus: Versus, entries: tuple[Entry, Entry], samples: tuple[CandidateSample | None, CandidateSample | None]
) -> None:
    """Compare one pair, or say why it cannot be."""
    (one, other), (own, its) = entries, samples
    what = one.candidate if one.candidate == other.candidate else f"{one.candidate} and {other.candidate}"
    common = one.ids & other.ids
    if common:
        shared = f"{len(common)} of {max(len(one.ids), len(other.ids))} trainings are the same trial on both sides"
        versus.unpaired.append(Unpaired(what=what, reason=f"{shared}: it differs from itself by nothing"))
    elif own is None or its is None:
        silent = one.candidate if own is None else other.candidate
        versus.unpaired.append(Unpaired(what=what, reason=f"{silent} has no {versus.metric.name} of single rows"))
    else:
        versus.crossings.append(_cross(versus, entries, (own, its)))


def _cross(versus: Versus, entries: tuple[Entry, Entry], samples: tuple[CandidateSample, CandidateSample]) -> Crossing:
    pair = compare_pair(*samples, versus.margin_amount)
    row = describe_pair(pair, versus.metric)
    leads = samples[0].total >= samples[1].total
    low, high = (row.low, row.high) if leads else (-row.high, -row.low)
    first, second = (_describe(*each, versus.metric) for each in zip(entries, samples, strict=True))
    return Crossing(
        first=first,
        second=second,
        difference=row.difference if leads else -row.difference,
        low=low,
        high=high,
        p_value=row.p_value,
        better=("A" if leads else "B") if row.call.startswith("better") else None,
        call=row.call,
        sentence=row.sentence,
    )


def _describe(entry: Entry, sample: CandidateSample, metric: MetricHead) -> Scored:
    mean, low, high = describe_score(sample, metric)
    return Scored(
        candidate=entry.candidate,
        mean=math.nan if mean is None else mean,
        low=low,
        high=high,
        trainings=len(entry.trials),
        trials=sorted(entry.ids),
    )


def _list_alone(versus: Versus, first: Opened, second: Opened) -> Iterator[Unpaired]:
    told = {name for pair in versus.crossings for name in (pair.first.candidate, pair.second.candidate)}
    told |= {one.what for one in versus.unpaired}
    for side, other in ((first, second), (second, first)):
        for name in side.entries:
            if name not in told and name not in other.entries:
                yield Unpaired(what=name, reason=f"stands in {side.name} alone")


def _list_scope(versus: Versus, first: Opened, second: Opened) -> Iterator[str]:
    halves = {}
    for letter, side, place in (("A", first, 0), ("B", second, 1)):
        for pair in versus.crossings:
            own = (pair.first, pair.second)[place]
            if not side.entries[own.candidate].trials[0].deterministic:
                halves[f"{own.candidate} of {letter}"] = own.trainings
    for count, write in ((1, compare_models), (2, need_third)):
        held = [name for name, trainings in halves.items() if trainings == count]
        if held:
            yield write([] if len(held) == len(halves) else held)
    if len(versus.crossings) > 1:
        yield PLAIN_PAIRS
    prints = [{trial.fingerprints.get("data") for trial in one.records} - {None} for one in (first, second)]
    if prints[0] and prints[1] and prints[0] != prints[1]:
        yield f"The {versus.split} rows are the same, the data are not: training or other rows differ."


def _list_differences(first: Opened, second: Opened) -> Iterator[Setting]:
    """Yield the settings in which two trials, or two studies, differ."""
    if first.trial != second.trial:
        return
    own, other = (dict(flatten(values)) for values in (_asked(first), _asked(second)))
    for name in dict.fromkeys([*own, *other]):
        if own.get(name) != other.get(name):
            yield Setting(name=name, first=_write(own, name), second=_write(other, name))


def _asked(one: Opened) -> dict[str, object]:
    if one.trial:
        return dict(one.records[0].identity)
    study, _ = load_stored_study(one.folder.spec)
    return study.model_dump(mode="json", exclude=NOT_ASKED)


def _write(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if name not in values:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
