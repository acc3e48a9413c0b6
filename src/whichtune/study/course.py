"""The course of a study: stage after stage of trials, each asked for by what came out before, with its plan on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from whichtune.engine.trial import first_score
from whichtune.fetch.atomic import write_text
from whichtune.records.folder import StudyFolder, read_lines
from whichtune.records.search import CandidateSearch, SearchLog
from whichtune.records.trial import TrialRecord
from whichtune.report.contenders import CHOSEN_ON, find_contenders
from whichtune.report.quality import list_metrics
from whichtune.spec.digest import digest
from whichtune.study.chains import chain_searches
from whichtune.study.execute import Desk
from whichtune.study.hands import Hands, Job, Starts
from whichtune.study.plan import (
    Fingerprints,
    Planned,
    identity_of,
    list_candidates,
    plan_study,
    require_distinct,
    trial_id,
)
from whichtune.study.searching import Result
from whichtune.study.stages import (
    ask_searches,
    count_expected,
    describe_search,
    find_search,
    further_seeds,
    list_searches,
    list_untuned,
    next_trials,
)

ENDED = ("finished", "unsupported", "pruned")
"""States of trials that are not run again."""


class Teller(Starts, Protocol):
    """Told how the course goes on."""

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """A trial is over; `found` says that an earlier run had finished it."""
        ...

    def on_note(self, text: str) -> None:
        """Something else to say."""
        ...


@dataclass
class Course:
    """Runs what is not finished, in the order of the stages."""

    desk: Desk
    known: Fingerprints
    teller: Teller
    measure: Callable[[Sequence[tuple[Planned, TrialRecord]]], None]
    """Measures the cost alone of what has ended, where the study asks for that."""
    hands: Hands
    ended: list[tuple[Planned, TrialRecord]] = field(default_factory=list)
    """Every trial that is over and was told of, in the order in which it was asked for; candidate by candidate where
    searches went on at the same time."""
    asked: set[str] = field(default_factory=set)
    """Keys of all trials that were asked for."""
    waiting: list[Job] = field(default_factory=list)
    """What of the stage was not told of."""
    done: dict[int, TrialRecord] = field(default_factory=dict)
    """Place of such a job to its record, where it is over."""
    answers: dict[int, Result] = field(default_factory=dict)
    """Place to what of a trial that is over decides what is asked next."""
    chains: Mapping[str, str] = field(default_factory=dict[str, str])
    """Candidate to the chain of its search: chains go on at the same time."""
    owners: dict[str, str] = field(default_factory=dict)
    """Trial id to what it was first asked for as."""
    leading: list[str] | None = None
    told: bool = False
    """Whether a trial was run, and what has changed was told."""

    @property
    def results(self) -> list[Result]:
        """What decides the next trials, in the order in which they were asked for: not the order in which they end."""
        return [self.answers[place] for place in sorted(self.answers)]

    def run(self) -> Iterator[TrialRecord]:
        """Yield the record of every trial; the plan of a stage is on disk before its first trial starts."""
        study = self.desk.shared.study
        require_distinct_entries(self.desk, self.known)
        staged = study.search is not None or bool(further_seeds(study)) or bool(study.sizes)
        self.chains = chain_searches(study, self.known, list_searches(study), beside=self.hands.together > 1)
        while asked := next_trials(study, self.results, self.find_contenders, self.chains):
            yield from self._run_stage(asked, staged)
        self._write_plan(complete=True)
        if staged or not self.told:
            self._tell_changes()

    def _run_stage(self, asked: Sequence[Planned], staged: bool) -> Iterator[TrialRecord]:
        """Run what of a stage is not finished, and what follows on it; yield its records in the order of `ended`.

        Where several trials run at a time, records are yielded when all are over, so that whoever works on them has the
        machine alone.
        """
        missing = self._ask_for(asked)
        if missing:
            if not staged and not self.told:
                self._tell_changes()
            self.told = True
        alone = self.hands.together == 1
        if alone:
            yield from self._end()
        for job, record in self.hands.run(missing):
            self.teller.on_trial_end(record, found=False)
            self._take(job, record)
            self.hands.add(self._ask_for(self._follow(job)))
            if alone:
                yield from self._end()
        places = {one.candidate: place for place, one in enumerate(list_candidates(self.desk.shared.study))}
        self.waiting.sort(key=lambda job: places[job.planned.candidate] if job.planned.role == "search" else 0)
        yield from self._end()

    def _ask_for(self, asked: Sequence[Planned]) -> list[Job]:
        """Take trials into the stage, with all that follows on those which an earlier run finished; return the rest.

        The plan is on disk then.
        """
        missing, left = list[Job](), list(asked)
        expected = count_expected(self.desk.shared.study)
        while left:
            total = max(expected, len(self.asked) + len(left))
            job = self._make_job(left.pop(0), total)
            record = self._find(job)
            if record is None:
                missing.append(job)
                continue
            self._take(job, record)
            if all(one.candidate != job.planned.candidate for one in left):
                left += self._follow(job)
        if missing:
            self._write_plan(complete=False)
        return missing

    def _follow(self, job: Job) -> list[Planned]:
        """Return what the chain of searches that asked for a trial asks for now: nothing while one of them is open."""
        name = job.planned.candidate
        if job.planned.role != "search" or any(
            one.planned.candidate == name and one.place not in self.done for one in self.waiting
        ):
            return []
        chain = self.chains[name]
        searches = list_searches(self.desk.shared.study, self.results)
        asked = ask_searches([one for one in searches if self.chains[one.base.candidate] == chain])
        return [one for one in asked if one.key not in self.asked]

    def _take(self, job: Job, record: TrialRecord) -> None:
        """Take note of a trial that is over."""
        self.done[job.place] = record
        self.answers[job.place] = self._result(job.planned, record)

    def _end(self) -> Iterator[TrialRecord]:
        """Tell of the trials that are over, up to the first that is not."""
        while self.waiting and self.waiting[0].place in self.done:
            job = self.waiting.pop(0)
            record = self.done.pop(job.place)
            self.ended.append((job.planned, record))
            yield record

    def _find(self, job: Job) -> TrialRecord | None:
        """Return the record of a trial that an earlier run finished, and tell of it."""
        record = find_finished(self.desk.folder, job.planned, job.id)
        if record is not None:
            self.teller.on_trial(job.planned, job.place, job.total)
            self.teller.on_trial_end(record, found=True)
        return record

    def _make_job(self, planned: Planned, total: int) -> Job:
        place, turn, halts = len(self.asked), 0, None
        self.asked.add(planned.key)
        if planned.role == "search":
            search = find_search(self.desk.shared.study, self.results, planned.candidate)
            turn, halts = len(search.results), None if search.spec.pruner is None else partial(search.halt, planned)
        job = Job(planned, self._identify(planned), place, total, halts, turn)
        self.waiting.append(job)
        return job

    def find_contenders(self) -> list[str]:
        """Name the candidates that could be the best by the validation rows of the study's own seeds."""
        if self.leading is None:
            seeds = set(self.desk.shared.study.seeds)
            records = [one for planned, one in self.ended if planned.role == "final" and planned.seed in seeds]
            limits = self.desk.shared.study.limits
            if limits.given():  # who breaks one is no contender, and some are about costs alone
                self.measure(self.ended)
            self.leading = find_contenders(self.desk.folder, records, limits)
        return self.leading

    def _identify(self, planned: Planned) -> dict[str, Any]:
        """Return a trial's identity; one that a search made equal to another entry's trial stays one of its own."""
        identity = identity_of(planned, self.desk.shared.study, self.known)
        owner = self.owners.setdefault(trial_id(identity), planned.key)
        if owner != planned.key:
            identity["entry"] = planned.candidate
            self.owners.setdefault(trial_id(identity), planned.key)
        return identity

    def _result(self, planned: Planned, record: TrialRecord) -> Result:
        scores = record.scores.get(CHOSEN_ON)
        score = math.nan if scores is None else first_score(scores)
        lines = read_lines(self.desk.folder.trial(record.id).curve) if planned.role == "search" else ()
        curve = tuple((line["step"], line["validation_score"]) for line in lines if "validation_score" in line)
        return Result(
            planned, record.status, score if math.isfinite(score) else None, record.wall_seconds or 0.0, curve
        )

    def _write_plan(self, *, complete: bool) -> None:
        """Write which trials the study asks for as far as is known, and what its searches chose."""
        known = [(planned, record.id) for planned, record in self.ended]
        known += [(job.planned, job.id) for job in self.waiting]
        listed = [
            {"id": identifier, "candidate": planned.candidate, "seed": planned.seed}
            | ({} if planned.role == "final" else {"role": planned.role})
            for planned, identifier in known
        ]
        finals = sum(planned.role == "final" for planned, _ in known)
        total = max(finals, len(plan_study(self.desk.shared.study)))
        plan = {"total": total, "complete": complete, "trials": listed}
        write_text(self.desk.folder.plan, json.dumps(plan, indent=1))
        self._write_searches()

    def _write_searches(self) -> None:
        study, path = self.desk.shared.study, self.desk.folder.searches
        if study.search is None:
            path.unlink(missing_ok=True)
            return
        done = [(job.planned, self.done[job.place]) for job in self.waiting if job.place in self.done]
        tried = [(planned.candidate, record) for planned, record in [*self.ended, *done] if planned.role == "search"]
        metric = next(iter(list_metrics((one for _, one in tried), CHOSEN_ON)), None)
        log = SearchLog(
            settings=study.search.model_dump(mode="json"),
            metric=None if metric is None else metric.name,
            direction="higher" if metric is None else metric.direction,
            untuned=list_untuned(study),
        )
        for search in list_searches(study, self.results):
            ids = [record.id for name, record in tried if name == search.base.candidate]
            if ids and not search.ask():
                found: CandidateSearch = describe_search(search)
                log.candidates.append(found.model_copy(update={"trials": ids}))
        write_text(path, log.model_dump_json(indent=1))

    def _tell_changes(self) -> None:
        """Say that trials of earlier settings or data are no longer part of the study."""
        left = self.desk.folder.count_outside()
        if left:
            told = f"settings or data have changed: {left} earlier trials stay on disk but leave the comparison"
            self.teller.on_note(told)


def require_distinct_entries(desk: Desk, known: Fingerprints) -> None:
    """Refuse two entries that are one and the same, before anything trains."""
    study = desk.shared.study
    plan = plan_study(study)
    spaces = {one.base.candidate: digest([one.space.ranges, one.space.choices]) for one in list_searches(study)}
    ids = [trial_id(identity_of(planned, study, known)) + spaces.get(planned.candidate, "") for planned in plan]
    require_distinct(plan, ids)


def find_finished(folder: StudyFolder, planned: Planned, identifier: str) -> TrialRecord | None:
    """Return the record of a finished trial; names may have changed since, the outcome has not."""
    trial = folder.trial(identifier)
    if not trial.record.is_file():
        return None
    record = trial.read()
    if record.status not in ENDED:
        return None
    names = {
        "candidate": planned.candidate,
        "method": planned.method_name,
        "backbone": planned.backbone,
        "tuned": dict(planned.tuned),
        "purpose": planned.purpose,
    }
    held = {name: getattr(record, name) for name in names}
    if digest(held) != digest(names):
        record = record.model_copy(update=names)
        trial.write(record)
    return record
