"""Workers beside the study: who gets which trial, what a death costs, and that results are those of one process."""

import os
import random
import signal
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from multiprocessing import Pipe
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import psutil
import pytest

from whichtune.errors import WorkerError
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import read_predictions
from whichtune.spec.read import load_stored_study
from whichtune.study import crowd, pace, run
from whichtune.study.crowd import Crowd
from whichtune.study.hands import Job, OwnHands
from whichtune.study.messages import Done, End, Fault, Ready, Stepped, Work
from whichtune.study.run import run_study
from whichtune.study.worker import Worker, bound_threads, describe_end

METHODS = {
    "majority": {"kind": "majority"},
    "lora": {"kind": "lora", "learning_rate": 1e-2},
    "last": {"kind": "last-layers", "learning_rate": 1e-2},
}


class Process:
    """Stands for a process that ends when it is told to."""

    def __init__(self, returncode=None):
        self.returncode = returncode

    def poll(self):
        return self.returncode

    def wait(self, seconds=None):
        self.returncode = self.returncode or 0

    def terminate(self):
        self.returncode = -15


class Staff:
    """Makes workers that are threads: `act` says what each does with its place of the pipe."""

    def __init__(self, act):
        self.act, self.workers, self.given = act, [], defaultdict(list)

    def start(self, setup):
        near, far = Pipe()
        worker = Worker(Process(), near)
        self.workers.append(worker)
        threading.Thread(target=self.act, args=(self, setup, far), daemon=True).start()
        return worker


def obey(staff, setup, pipe):
    """Say that every trial is over."""
    pipe.send(Ready())
    with suppress(EOFError):
        while not isinstance(order := pipe.recv(), End):
            assert isinstance(order, Work)
            for job in order.jobs:
                staff.given[setup.name].append(job.planned.backbone)
                pipe.send(Stepped(job.place, "figures", 9))
                pipe.send(Done(job.place, f"record {job.place}"))


@pytest.fixture
def hiring(monkeypatch, tmp_path):
    def make(act, workers=2):
        staff = Staff(act)
        monkeypatch.setattr(crowd, "start_worker", staff.start)
        monkeypatch.setattr(crowd, "Setup", lambda *given: SimpleNamespace(name=given[2]))
        monkeypatch.setattr(Crowd, "_fail", lambda self, job, since, told: f"failed {job.place}: {told}")
        desk = MagicMock(workers=workers, threads=1)
        desk.request.side_effect = lambda planned: "as it is"
        return Crowd(desk, MagicMock()), staff

    return make


def make_jobs(names, candidates=None, role="final"):
    planned = [
        SimpleNamespace(backbone=None if name == "-" else name, place=place, candidate=candidate, role=role, label=str)
        for place, (name, candidate) in enumerate(zip(names, candidates or names, strict=True))
    ]
    return [Job(one, {"place": place}, place, len(names)) for place, one in enumerate(planned)]


def test_a_worker_keeps_its_backbone_as_long_as_there_is_work_on_it(hiring):
    hands, staff = hiring(obey)
    jobs = make_jobs("XXXXYYYY")
    assert {job.place: record for job, record in hands.run(jobs)} == {n: f"record {n}" for n in range(8)}
    hands.close()
    first, second = staff.given["worker-1"], staff.given["worker-2"]
    assert (first[0], second[0]) == ("X", "Y")
    assert sum(a != b for own in (first, second) for a, b in pairwise(own)) <= 2
    assert len(first) + len(second) == 8


def test_no_two_workers_begin_a_candidate_at_the_same_time_where_another_waits(hiring):
    begun, others_are_over = [], threading.Event()

    def act(staff, setup, pipe):
        pipe.send(Ready())
        with suppress(EOFError):
            while not isinstance(order := pipe.recv(), End):
                for job in order.jobs:
                    begun.append(job.planned.candidate)
                    if begun.count("b") == 2:
                        others_are_over.set()
                    if job.planned.candidate == "a":
                        others_are_over.wait(10)
                    pipe.send(Done(job.place, "record"))

    hands, _ = hiring(act)
    assert len(list(hands.run(make_jobs("XXXXX", "aaabb")))) == 5
    hands.close()
    assert sorted(begun[:3]) == ["a", "b", "b"], "nobody waits for the first of the others"


def test_no_more_workers_are_started_than_there_are_trials(hiring):
    hands, staff = hiring(obey, workers=4)
    assert len(list(hands.run(make_jobs("-X")))) == 2
    assert len(staff.workers) <= 2
    before = len(staff.workers)
    assert len(list(hands.run(make_jobs("XX")))) == 2
    assert len(staff.workers) <= 2 or before < 2, "they are held between stages"
    hands.close()
    assert hands.workers == []


def test_what_is_told_of_a_step_names_its_trial_first(hiring):
    hands, _ = hiring(obey)
    watcher = hands.watcher
    list(hands.run(make_jobs("XX")))
    calls = [call for call in watcher.mock_calls if call[0] in ("turn_to", "on_step")]
    assert [name for name, *_ in calls].count("on_step") == 2
    for at, (name, *_) in enumerate(calls):
        assert name != "on_step" or calls[at - 1][0] == "turn_to"


def test_what_follows_on_a_trial_runs_beside_the_others(hiring):
    follows = threading.Event()

    def act(staff, setup, pipe):
        pipe.send(Ready())
        with suppress(EOFError):
            while not isinstance(order := pipe.recv(), End):
                for job in order.jobs:
                    if job.place == 1:
                        assert follows.wait(10), "it ends after what follows on the other"
                    if job.place == 2:
                        follows.set()
                    pipe.send(Done(job.place, "record"))

    hands, _ = hiring(act)
    *first, last = make_jobs("XXX")
    ended = []
    for job, _ in hands.run(first):
        ended.append(job.place)
        if job.place == 0:
            hands.add([last])
    assert sorted(ended) == [0, 1, 2]
    assert ended[0] == 0


def test_a_search_trial_whose_worker_died_is_run_once_more(hiring):
    deaths = []

    def act(staff, setup, pipe):
        pipe.send(Ready())
        with suppress(EOFError):
            while not isinstance(order := pipe.recv(), End):
                (job,) = order.jobs
                if (job.place == 0 and len(deaths) < 1) or job.place == 2:
                    deaths.append(job.place)
                    staff.workers[int(setup.name[-1]) - 1].process.returncode = -9
                    pipe.close()
                    return
                pipe.send(Done(job.place, "record"))

    hands, _ = hiring(act)
    told = {job.place: record for job, record in hands.run(make_jobs("XXX", role="search"))}
    assert sorted(deaths) == [0, 2, 2]
    assert (told[0], told[1]) == ("record", "record")
    assert told[2].startswith("failed 2"), "a second death is the trial's own"


def test_the_search_that_has_come_least_far_is_served(hiring):
    hands, _ = hiring(obey, workers=1)
    jobs = [
        replace(job, turn=turn) for job, turn in zip(make_jobs("XXXX", "aabb", "search"), (5, 5, 2, 3), strict=True)
    ]
    assert [job.turn for job, _ in hands.run(jobs)] == [2, 3, 5, 5]


def test_a_worker_that_dies_costs_the_trial_it_was_in(hiring):
    def die_once(staff, setup, pipe):
        if setup.name != "worker-1":
            return obey(staff, setup, pipe)
        pipe.send(Ready())
        pipe.recv()
        staff.workers[0].process.returncode = -9
        return pipe.close()

    hands, _ = hiring(die_once)
    found = {job.place: record for job, record in hands.run(make_jobs("XXXX"))}
    told = "failed 0: its worker process ended with signal 9 (SIGKILL; the system may have run out of memory)"
    assert found == {0: told, 1: "record 1", 2: "record 2", 3: "record 3"}


def test_a_worker_that_dies_while_it_rests_costs_nothing(hiring):
    hands, staff = hiring(obey, workers=1)
    assert len(list(hands.run(make_jobs("X")))) == 1
    staff.workers[0].process.returncode = -9
    assert [record for _, record in hands.run(make_jobs("X"))] == ["record 0"]
    assert len(staff.workers) == 2


def test_workers_that_never_start_end_the_study_with_a_reason(hiring):
    def die(staff, setup, pipe):
        staff.workers[-1].process.returncode = 1
        pipe.close()

    hands, staff = hiring(die, workers=1)
    with pytest.raises(WorkerError, match="end before they start \\(exit code 1\\)"):
        list(hands.run(make_jobs("XX")))
    assert len(staff.workers) == 2

    def complain(staff, setup, pipe):
        pipe.send(Fault("ModelError: no such weights"))

    hands, _ = hiring(complain)
    with pytest.raises(WorkerError, match="no such weights"):
        list(hands.run(make_jobs("XX")))


def test_ends_are_told_in_words():
    assert describe_end(3) == "exit code 3"
    assert describe_end(-11) == "signal 11 (SIGSEGV)"
    assert "out of memory" in describe_end(-9)
    assert bound_threads(3)["OMP_NUM_THREADS"] == "3"


class Noting:
    """Keeps what was told, and acts on the steps of the trials of workers."""

    def __init__(self, quiet, act=None):
        self.quiet, self.act, self.at = quiet, act, None

    def __getattr__(self, name):
        return getattr(self.quiet, name)

    def turn_to(self, planned, place, total):
        self.at = place

    def on_step(self, figures, total):
        if self.act is not None:
            self.act(self.at)
        self.quiet.on_step(figures, total)


def list_workers():
    own = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in own if any("study.working" in word for word in child.cmdline())]


def assert_equal_outcomes(one, other):
    assert [record.id for record in one.records] == [record.id for record in other.records]
    for left, right in zip(one.records, other.records, strict=True):
        ours, theirs = (
            read_predictions(each.folder.trial(record.id).predictions) for each, record in ((one, left), (other, right))
        )
        for split, table in ours.items():
            for column in ("ids", "parsed", "probabilities", "loss"):
                assert np.array_equal(getattr(table, column), getattr(theirs[split], column)), (left.candidate, column)


class Shuffled(OwnHands):
    """Hands whose trials end in an order of their own."""

    together = 2
    seed = 0
    stages = 0

    def begin(self, trainings):
        """Nothing is to be started."""

    def run(self, jobs):
        Shuffled.stages += 1
        self.draw, self.queue = random.Random(self.seed), [[job] for job in jobs]
        while self.queue:
            yield from self._run_pack(self.queue.pop(self.draw.randrange(len(self.queue))))

    def add(self, jobs):
        self.queue += [[job] for job in jobs]


HALVED = {
    "methods": {
        "lora": {"kind": "lora", "search": {"learning_rate": [1e-4, 1.0]}},
        "last": {"kind": "last-layers", "search": {"learning_rate": [1e-4, 1.0]}},
        "held": {"kind": "lora", "rank": 2, "search": {"learning_rate": []}},
    },
    "search": {
        "engine": "optuna",
        "sampler": "quasi-random",
        "trials": 6,
        "best": 1,
        "repeats": 1,
        "pruner": {"kind": "successive-halving"},
    },
    "training": {"epochs": 4, "batch_size": 16, "max_length": 40, "validate_every": 1},
    "seeds": (1, 2),
}
GRID = {
    "methods": {
        "a": {"kind": "lora", "rank": 2, "search": {"learning_rate": [1e-3, 1e-2]}},
        "b": {"kind": "lora", "search": {"learning_rate": [], "rank": [2, 4]}},
        "last": {"kind": "last-layers"},
    },
    "search": {"trials": 2, "best": 1, "repeats": 1, "own": False},
    "training": {"epochs": 1, "batch_size": 16, "max_length": 40, "max_steps": 2},
    "seeds": (1, 2),
}
LEARNING = HALVED | {
    "search": {"engine": "optuna", "trials": 5, "best": 1, "repeats": 1},
    "training": {"epochs": 1, "batch_size": 16, "max_length": 40, "max_steps": 3},
}


def assert_equal_courses(one, two):
    assert_equal_outcomes(one, two)
    assert [record.id for record in one.searched] == [record.id for record in two.searched]
    for left, right in zip(one.searched, two.searched, strict=True):
        assert (left.status, left.steps, left.scores) == (right.status, right.steps, right.scores)
    for path in ("plan", "searches"):
        assert getattr(one.folder, path).read_text() == getattr(two.folder, path).read_text()


@pytest.mark.parametrize(
    "changes",
    [pytest.param(GRID, id="grid"), pytest.param(HALVED, id="halving"), pytest.param(LEARNING, id="learning")],
)
def test_the_order_in_which_trials_end_decides_nothing(changes, tiny_study, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    monkeypatch.setattr(run, "Crowd", Shuffled)
    plain = {"threads": 1, "device": "cpu", "check": False}
    one = run_study(tiny_study(**changes, execution=plain), tmp_path / "one", quiet())
    orders = []
    for seed in (1, 2):
        monkeypatch.setattr(Shuffled, "seed", seed)
        monkeypatch.setattr(Shuffled, "stages", 0)
        watcher = quiet()
        two = run_study(tiny_study(**changes, execution=plain | {"workers": 2}), tmp_path / f"{seed}", watcher)
        assert_equal_courses(one, two)
        assert Shuffled.stages == 2, "no search waits for a trial of another; final trials do"
        orders.append([(name, number) for name, number, *_ in watcher.ended][: len(two.searched)])
    assert orders[0] != orders[1]
    names = [name for name, _ in orders[0]]
    assert sum(one != other for one, other in pairwise(names)) >= len(set(names)), "searches go on side by side"


def test_a_trial_of_two_searches_belongs_to_the_first_in_the_plan(tiny_study, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    monkeypatch.setattr(run, "Crowd", Shuffled)
    execution = {"threads": 1, "device": "cpu", "check": False, "workers": 2}
    outcome = run_study(tiny_study(**GRID, execution=execution), tmp_path, quiet())
    again = [one for one in outcome.searched if "entry" in one.identity]
    assert {one.candidate for one in again} == {"b@bert"}
    assert {one.settings["rank"] for one in again} == {2}


def test_halved_searches_side_by_side_are_those_of_one_process(tiny_study, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    plain = {"threads": 1, "device": "cpu", "check": False}
    one = run_study(tiny_study(**HALVED, execution=plain), tmp_path / "one", quiet())
    statuses = {record.status for record in one.searched}
    assert statuses == {"finished", "pruned"}
    beside = tiny_study(**HALVED, execution=plain | {"workers": 2})
    with pytest.raises(KeyboardInterrupt):
        run_study(beside, tmp_path / "two", Interrupted(quiet(), after=5))
    assert list_workers() == []
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny_study(**HALVED, execution=plain), tmp_path / "two", Interrupted(quiet(), after=8))
    again = quiet()
    two = run_study(beside, tmp_path / "two", again)
    assert sum(found for *_, found in again.ended) >= 7, "what was over is not run again"
    assert_equal_courses(one, two)


class Interrupted:
    """Stops a study as Ctrl-C does, when so many trials are over."""

    def __init__(self, quiet, after):
        self.quiet, self.left = quiet, after

    def __getattr__(self, name):
        return getattr(self.quiet, name)

    def on_trial_end(self, record, *, found):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_measured_workers_give_the_outcome_of_one_process(tiny_study, tmp_path, quiet, monkeypatch):
    asked = {"device": "cpu", "check": False}
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    monkeypatch.setattr(pace, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(pace, "LEAST_GAIN", 0.0)
    watcher = Noting(quiet())
    study = tiny_study(methods=METHODS, execution=asked | {"workers": "auto"})
    both = run_study(study, tmp_path / "both", watcher)
    assert both.exit_code == 0
    assert any("times as fast as one" in note for note in watcher.notes)
    assert list_workers() == []
    for record in both.records:
        assert (record.device["threads"], record.device["workers"]) == (1, 2)
    decided = load_stored_study(both.folder.spec)[1]
    assert (decided["workers"], decided["threads"]) == (2, 1)
    assert decided["workers_measured"]["together"]["step_seconds"] > 0
    assert {"worker-1.jsonl", "worker-2.jsonl"} <= {path.name for path in both.folder.path.glob("costs/*")}
    alone = run_study(tiny_study(methods=METHODS, execution=asked | {"threads": 1}), tmp_path / "alone", quiet())
    assert_equal_outcomes(both, alone)
    assert both.folder.read_plan() == alone.folder.read_plan()
    monkeypatch.setattr(run, "measure", None)  # what was measured is used again
    again = quiet()
    run_study(study, tmp_path / "both", again)
    assert again.steps == 0
    assert load_stored_study(both.folder.spec)[1] == decided


def test_a_killed_worker_costs_one_trial_and_an_interrupt_none(tiny_study, tmp_path, quiet, monkeypatch):
    started, ends = [], []

    def start(setup):
        started.append(real(setup))
        return started[-1]

    def act(place):
        if not ends:  # the first step that is told
            ends.append(place)
            victim = next(worker for worker in started if place in worker.jobs)
            os.kill(victim.process.pid, signal.SIGKILL)
        elif len(started) == 3 and place not in ends and started[2].jobs:  # the new worker is at work
            raise KeyboardInterrupt

    real = crowd.start_worker
    monkeypatch.setattr(crowd, "start_worker", start)
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    plain = {"threads": 1, "device": "cpu", "check": False}
    changes = {
        "methods": METHODS,
        "training": {"epochs": 20, "batch_size": 16, "max_length": 40},
        "seeds": (1, 2),
    }
    study = tiny_study(**changes, execution=plain | {"workers": 2})
    watcher = Noting(quiet(), act)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "runs", watcher)
    assert list_workers() == []
    assert len(started) == 3
    folder = StudyFolder(tmp_path / "runs" / "tiny")
    assert not folder.read_plan().complete
    (lost,) = (record for record in folder.read_trials() if record.status == "failed")
    assert lost.failure.kind == "WorkerError"
    assert "its worker process ended with signal 9" in lost.failure.message
    outcome = run_study(tiny_study(**changes, execution=plain), tmp_path / "runs", quiet())
    assert [record.status for record in outcome.records] == ["finished"] * 5
    assert lost.id in [record.id for record in outcome.records]
