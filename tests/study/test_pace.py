"""How many processes train at once: what the study says, what was measured, and what was measured before."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from whichtune.errors import SpecError, WorkerError
from whichtune.records.folder import StudyFolder
from whichtune.spec.read import resolve_study
from whichtune.spec.training import ExecutionSpec
from whichtune.study import pace
from whichtune.study.pace import Open, Pace, measure, require_cores, settle, share_cores, weigh

METHODS = {"majority": {"kind": "majority"}, "lora": {"kind": "lora"}, "last": {"kind": "last-layers"}}


def make_desk(tmp_path=Path("/nowhere"), device="cpu", **changes):
    raw = {
        "name": "s",
        "data": {"source": {"kind": "tweets"}},
        "backbones": {"b": {"kind": "minilm"}},
        "methods": METHODS,
        "seeds": [1, 2, 3],
        "execution": {"workers": "auto"},
        "contender_seeds": 0,
    }
    shared = MagicMock(study=resolve_study(raw | changes), device=torch.device(device))
    shared.data.fingerprint = "rows"
    return SimpleNamespace(shared=shared, folder=StudyFolder(tmp_path), threads=1, workers=1)


@pytest.mark.parametrize("given", [0, -1, True, 1.5, "many", None, [2]])
def test_what_is_no_number_of_processes_is_refused(given):
    with pytest.raises(SpecError, match=r"execution.workers.*whole numbers from 1 on, and `auto`"):
        make_desk(execution={"workers": given})


@pytest.mark.parametrize(
    ("asked", "cores", "told"),
    [
        ({"workers": 3}, 2, r"execution.workers: got 3; allowed: at most 2, the cores"),
        ({"workers": 2, "threads": 2}, 3, r"execution.threads: got 2; allowed: at most 1 with 2 workers on 3 cores"),
    ],
)
def test_more_threads_than_cores_are_refused(asked, cores, told):
    with pytest.raises(SpecError, match=told):
        require_cores(ExecutionSpec(**asked), cores)


@pytest.mark.parametrize(
    "asked", [{}, {"threads": 8}, {"workers": "auto"}, {"workers": 2}, {"workers": 2, "threads": 1}]
)
def test_what_fits_is_let_through(asked):
    require_cores(ExecutionSpec(**asked), 2)


@pytest.mark.parametrize("cores", range(1, 9))
@pytest.mark.parametrize("earlier", [{}, {"threads": 1}, {"threads": 3}])
def test_the_threads_of_several_workers_are_never_more_than_the_cores(cores, earlier):
    for workers in range(2, cores + 1):
        threads = share_cores(ExecutionSpec(workers=workers), workers, earlier, cores)
        assert threads >= 1
        assert threads * workers <= cores
        if earlier.get("threads", cores + 1) * workers <= cores:
            assert threads == earlier["threads"], "threads decide last bits and stay"


def test_one_worker_keeps_the_threads_of_the_first_run():
    assert settle(make_desk(execution={}), {}, 2) == Pace(1, 2)
    assert settle(make_desk(execution={}), {"threads": 1}, 2) == Pace(1, 1)
    assert settle(make_desk(execution={"threads": 5}), {"threads": 1}, 2) == Pace(1, 5)
    assert settle(make_desk(execution={"workers": 2}), {"threads": 2}, 2) == Pace(2, 1)


@pytest.mark.parametrize(
    ("changes", "earlier", "cores", "why"),
    [
        ({"seeds": [1]}, {}, 2, "fewer than 4 trainings"),
        ({}, {}, 1, "all cores"),
        ({}, {"threads": 2}, 2, "all cores"),
        ({"execution": {"workers": "auto", "threads": 2}}, {}, 3, "all cores"),
        ({"search": {"seconds": 10}}, {}, 2, "what their seconds allow"),
        (
            {"search": {"engine": "optuna"}, "methods": {"lora": {"kind": "lora"}}},
            {},
            2,
            "one training after the other",
        ),
        ({"device": "cuda"}, {}, 2, "GPU"),
    ],
)
def test_where_nothing_can_be_won_nothing_is_measured(changes, earlier, cores, why):
    decided = settle(make_desk(**changes), earlier, cores)
    assert isinstance(decided, Pace)
    assert decided.workers == 1
    assert why in decided.why


def test_all_cores_in_one_process_are_weighed_against_a_share_in_each():
    asked = settle(make_desk(), {}, 2)
    assert (asked.one, asked.several, asked.trainings) == (Pace(1, 2), Pace(2, 1), 6)
    wide = settle(make_desk(), {}, 16)
    assert (wide.one.threads, wide.several) == (16, Pace(4, 4))
    bound = settle(make_desk(), {"threads": 1}, 2)
    assert (bound.one, bound.several) == (Pace(1, 1), Pace(2, 1)), "results that are there have that many threads"


def test_of_searches_that_learn_from_each_training_as_many_run_at_a_time_as_there_are():
    asked = settle(make_desk(search={"engine": "optuna"}), {}, 8)
    assert asked.several == Pace(2, 4), "the last layers' search beside that of LoRA"
    meeting = {"search": {"learning_rate": [], "rank": [2, 4]}, "kind": "lora"}
    one = settle(make_desk(search={"engine": "optuna"}, methods={"a": meeting, "b": {"kind": "lora"}}), {}, 8)
    assert isinstance(one, Pace), "they may come to the same trial, and wait for each other"
    assert settle(make_desk(search={}), {}, 8).several == Pace(4, 2), "a grid's trials wait for none"


def test_several_are_taken_where_they_are_faster_and_a_last_round_counts_whole():
    asked = Open(Pace(1, 2), Pace(2, 1), 6, "a")
    told = {"candidate": "lora@b"}
    assert weigh(asked, told, [1.0], [1.5]).workers == 2
    assert weigh(asked, told, [1.0], [2.1]).workers == 1
    assert weigh(Open(Pace(1, 2), Pace(2, 1), 5, "a"), told, [1.0], [1.7]).workers == 1  # three rounds for five
    chosen = weigh(asked, told, [1.0], [1.5])
    assert chosen.measured["times_as_fast"] == pytest.approx(4 / 3, abs=1e-3)
    assert "1.33 times as fast" in chosen.why


def test_steps_are_compared_batch_by_batch():
    asked = Open(Pace(1, 2), Pace(2, 1), 6, "a")
    chosen = weigh(asked, {"candidate": "lora@b"}, [1.0, 3.0, 1.0, 3.0], [1.5, 4.5, 30.0, 4.5])
    assert chosen.measured["times_as_fast"] == pytest.approx(4 / 3, abs=1e-3), "one slow step is not the median"


def test_a_measurement_is_used_again_until_data_or_machine_are_others():
    desk = make_desk()
    asked = settle(desk, {}, 2)
    chosen = weigh(asked, {"candidate": "lora@b", "about": asked.about}, [1.0], [1.2])
    again = settle(desk, chosen.decisions, 2)
    assert (again.workers, again.threads, again.why) == (2, 1, "")
    assert again.decisions == chosen.decisions
    assert isinstance(settle(desk, chosen.decisions, 4), Open)
    desk.shared.data.fingerprint = "other rows"
    moved = settle(desk, chosen.decisions, 2)
    assert (moved.one.threads, moved.several.threads) == (1, 1), "threads stay"


class Fake:
    """Stands for workers that take so long."""

    def __init__(self, seconds):
        self.seconds, self.closed = seconds, False

    def time_together(self, planned, steps):
        if isinstance(self.seconds, Exception):
            raise self.seconds
        return [self.seconds] * steps

    def close(self):
        self.closed = True


@pytest.fixture
def timed(monkeypatch):
    """Half a second a step and a hundred steps a training."""
    monkeypatch.setattr(pace, "_time_alone", lambda desk: [(SimpleNamespace(candidate="lora@b"), [0.5] * 3, 100)])
    monkeypatch.setattr(pace, "replace", lambda held, **changes: SimpleNamespace(**{**vars(held), **changes}))


@pytest.mark.parametrize(
    ("seconds", "workers"), [(0.6, 2), (1.0, 1), (WorkerError("a worker process ended with signal 9"), 1)]
)
def test_the_workers_that_were_timed_are_kept_where_they_are_taken(timed, seconds, workers):
    crowd, made = Fake(seconds), []
    decided, kept = measure(make_desk(), Open(Pace(1, 2), Pace(2, 1), 6, "a"), lambda own: made.append(own) or crowd)
    assert decided.workers == workers
    assert (kept is crowd) == (workers == 2)
    assert crowd.closed == (workers == 1)
    assert [(own.threads, own.workers) for own in made] == [(1, 2)]


def test_short_trainings_start_no_process(timed, monkeypatch):
    monkeypatch.setattr(pace, "WORTH_SECONDS", 1000.0)
    decided, kept = measure(make_desk(), Open(Pace(1, 2), Pace(2, 1), 6, "a"), None)
    assert (decided.workers, decided.threads, kept) == (1, 2, None)
    assert "about 300 s" in decided.why
    assert decided.measured["alone"] == {"threads": 2, "step_seconds": 0.5}


def test_processes_that_memory_has_no_room_for_are_not_started(timed, monkeypatch):
    monkeypatch.setattr(pace, "read_free_bytes", lambda device: 1000)
    decided, kept = measure(make_desk(), Open(Pace(1, 2), Pace(2, 1), 6, "a"), None)
    assert (decided.workers, kept) == (1, None)
    assert "memory" in decided.why


def test_the_slowest_of_the_first_candidates_is_timed_beside_others_and_their_mean_is_what_is_left(monkeypatch):
    taken = {"frozen@b": None, "last@b": ([0.1] * 3, 50), "lora@b": ([0.5, 0.4, 9.0], 20), "full@b": ([7.0], 10)}
    methods = {"frozen": {"kind": "frozen-features"}, "last": {"kind": "last-layers"}, "lora": {"kind": "lora"}}
    seen = []
    monkeypatch.setattr(pace, "_time", lambda desk, planned: seen.append(planned.candidate) or taken[planned.candidate])
    monkeypatch.setattr(pace, "WORTH_SECONDS", 76.0)
    desk = make_desk(methods=methods | {"full": {"kind": "full"}})
    decided, _ = measure(desk, Open(Pace(1, 2), Pace(2, 1), 10, "a"), None)
    assert seen == ["frozen@b", "last@b", "lora@b"]
    assert decided.measured["candidate"] == "lora@b"
    assert "about 75 s" in decided.why  # ten times the mean of 0.1 s x 50 and 0.5 s x 20
