"""Several workers beside the study's process: who gets which trial, and what becomes of a trial whose worker died."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import wait

from whichtune.errors import WorkerError
from whichtune.records.trial import Failure, TrialRecord
from whichtune.study.execute import Desk, open_record
from whichtune.study.hands import Job
from whichtune.study.messages import Done, Fault, Go, Laid, Lay, Note, Ready, Report, Setup, Stepped, Timed, Validated
from whichtune.study.plan import Planned
from whichtune.study.watching import Turning, Watcher
from whichtune.study.worker import LEAVE_SECONDS, Load, Worker, start_worker

MOST_STARTS = 2
"""Workers that may die one after the other before any of them was ready."""
START_SECONDS = 120.0
"""For all workers to have loaded a candidate that is to be timed."""


@dataclass
class Crowd:
    """Hands that are processes, each with one backbone loaded; started when there is work, held between stages."""

    desk: Desk
    watcher: Watcher
    workers: list[Worker] = field(default_factory=list)
    started: int = 0
    stillborn: int = 0
    """Workers in a row that died before they were ready."""
    queue: list[Job] = field(default_factory=list)
    retried: set[int] = field(default_factory=set)
    """Places of search trials that were run again, since their worker died."""
    tried: set[str] = field(default_factory=set)
    """Candidates of which a trial is over: what it keeps for the next ones (features, frozen rows) is there."""

    @property
    def together(self) -> int:
        """As many as the study has workers."""
        return self.desk.workers

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, TrialRecord]]:
        """Run every job; those on the backbone that a worker has loaded come to it first."""
        self.queue = list(jobs)
        while self.queue or any(worker.jobs for worker in self.workers):
            self._hand_out()
            for worker, report in self._listen():
                yield from self._take(worker, report)

    def add(self, jobs: Sequence[Job]) -> None:
        """Hand them out with the others."""
        self.queue += jobs

    def begin(self, trainings: int) -> None:
        """Start as many as there is work for, before there is any."""
        while len(self.workers) < min(self.together, trainings):
            self._start()

    def time_together(self, planned: Planned, steps: int) -> list[float]:
        """Return the seconds of each step that all workers took of one candidate at the same time, their mean."""
        self.begin(self.together)
        for worker in self.workers:
            worker.tell(Lay(planned))
            worker.load = self._load(planned)
        self._await(Laid)
        for worker in self.workers:
            worker.tell(Go(steps))
        taken = [report.seconds for report in self._await(Timed) if isinstance(report, Timed)]
        return [statistics.fmean(step) for step in zip(*taken, strict=True)]

    def close(self) -> None:
        """End all workers: at once where they rest, as Ctrl-C does where they work."""
        for worker in self.workers:
            worker.dismiss()
        while self.workers:
            self.workers.pop().bury(LEAVE_SECONDS)

    def _start(self) -> Worker:
        """Start one more worker; the backbone and the trackers of this process are its business from here on."""
        self.desk.shared.drop()
        self.desk.trackers.close()
        self.started += 1
        shared, folder = self.desk.shared, self.desk.folder
        device, name = str(shared.device), f"worker-{self.started}"
        worker = start_worker(Setup(shared.study, folder.path, name, device, self.desk.threads, self.desk.workers))
        self.workers.append(worker)
        return worker

    def _hand_out(self) -> None:
        """Give a trial to every worker that rests, and start one where there are too few."""
        while self.queue:
            self._sweep()
            resting = next((one for one in self.workers if not one.jobs), None)
            if resting is None and len(self.workers) >= self.together:
                return
            worker = resting or self._start()
            job = self._choose(worker)
            self.queue.remove(job)
            self.watcher.on_trial(job.planned, job.place, job.total)
            worker.give([job], self._load(job.planned))

    def _sweep(self) -> None:
        """Let those go that ended while they rested: that costs no trial."""
        for worker in [one for one in self.workers if not one.jobs and one.process.poll() is not None]:
            self.workers.remove(worker)
            worker.bury()

    def _choose(self, worker: Worker) -> Job:
        """Choose what needs no other backbone, else what nobody has loaded, else the first.

        Among those a trial comes later whose candidate another worker runs for the first time: it would wait for it. Of
        searches the one that had come least far is served: what follows may have to wait for it, and would be left to
        run alone in the end.
        """
        taken = {one.load for one in self.workers}
        loads = [(job, self._load(job.planned)) for job in self.queue]
        ways = (lambda load: load in (worker.load, None), lambda load: load not in taken, lambda _: True)
        fitting = next(some for fits in ways if (some := [job for job, load in loads if fits(load)]))
        begun = {job.planned.candidate for one in self.workers for job in one.jobs.values()} - self.tried
        free = [job for job in fitting if job.planned.candidate not in begun] or fitting
        return min(free, key=lambda job: job.turn)

    def _load(self, planned: Planned) -> Load:
        return None if planned.backbone is None else (planned.backbone, self.desk.request(planned))

    def _listen(self, seconds: float | None = None) -> Iterator[tuple[Worker, Report | None]]:
        """Yield what the workers say, at least one thing; None of one that is gone."""
        heard = wait([worker.pipe for worker in self.workers], seconds)
        for worker in [one for one in self.workers if one.pipe in heard]:
            try:
                report: Report | None = worker.pipe.recv()
            except (EOFError, OSError):
                report = None
            if isinstance(report, Ready):
                worker.ready, self.stillborn = True, 0
            if isinstance(report, Fault):
                raise WorkerError(f"a worker process cannot go on: {report.told}")
            yield worker, report

    def _take(self, worker: Worker, report: Report | None) -> Iterator[tuple[Job, TrialRecord]]:
        """Pass on what a worker said; yield the trials that are over by it."""
        if report is None:
            yield from self._lose(worker)
        elif isinstance(report, Note):
            self.watcher.on_note(report.text)
        elif isinstance(report, Done):
            job = worker.jobs.pop(report.place)
            self.tried.add(job.planned.candidate)
            self._turn(job)
            yield job, report.record
        elif isinstance(report, Stepped | Validated):
            self._turn(worker.jobs[report.place])
            if isinstance(report, Stepped):
                self.watcher.on_step(report.figures, report.total)
            else:
                self.watcher.on_validation(report.step, report.score, report.metrics)

    def _turn(self, job: Job) -> None:
        if isinstance(self.watcher, Turning):
            self.watcher.turn_to(job.planned, job.place, job.total)

    def _lose(self, worker: Worker) -> Iterator[tuple[Job, TrialRecord]]:
        """Leave a failed record for each trial that a dead worker was in; one that never started costs none.

        A search trial is run once more: what its search asks for next, and whom it halts, hangs on it.
        """
        how = worker.bury()
        self.workers.remove(worker)
        if not worker.ready:
            self.stillborn += 1
            if self.stillborn >= MOST_STARTS:
                raise WorkerError(f"worker processes end before they start ({how}); what they said stands above")
            self.queue = [*worker.jobs.values(), *self.queue]
            return
        for job in worker.jobs.values():
            if job.planned.role == "search" and job.place not in self.retried:
                self.retried.add(job.place)
                self.queue.insert(0, job)
                self.watcher.on_note(f"{job.planned.label()}: its worker process ended with {how}; it runs once more")
                continue
            self._turn(job)
            yield job, self._fail(job, worker.since, f"its worker process ended with {how}")

    def _fail(self, job: Job, since: str, told: str) -> TrialRecord:
        record = open_record(self.desk, job.planned, job.identity)
        record.status, record.started_at = "failed", since
        record.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        record.failure = Failure(kind=WorkerError.__name__, message=told)
        self.desk.folder.trial(record.id).write(record)
        return record

    def _await(self, kind: type[Report]) -> list[Report]:
        """Return what every worker was to say once; raise where one dies or all together take too long."""
        end, said = time.monotonic() + START_SECONDS, list[Report]()
        while len(said) < len(self.workers):
            if time.monotonic() > end:
                raise WorkerError(f"the workers were not there within {START_SECONDS:.0f} s")
            for worker, report in self._listen(1.0):
                if report is None:
                    self.workers.remove(worker)
                    raise WorkerError(f"a worker process ended with {worker.bury()}")
                if isinstance(report, Note):
                    self.watcher.on_note(report.text)
                said += [report] if isinstance(report, kind) else []
        return said
