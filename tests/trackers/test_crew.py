"""What a failing tracker may do to a trial: nothing but a line and a note."""

import time
from dataclasses import dataclass

import pytest

from whichtune.errors import SpecError
from whichtune.spec.trackers import TensorBoardSpec
from whichtune.trackers import crew as module
from whichtune.trackers.crew import PATIENCE_TRIALS, Crew, Guard
from whichtune.trackers.remote import TrackerError


@dataclass(frozen=True)
class Step:
    step: int
    loss: float = 0.5
    learning_rate: float = 0.1
    gradient_norm: float = 1.0


class Fake:
    """Keeps what it is told; fails at one point."""

    def __init__(self, fails_at="", error=None):
        self.fails_at, self.error = fails_at, error or OSError("disk full")
        self.told, self.closed = [], False

    def _do(self, what, *about):
        self.told.append((what, *about))
        if what == self.fails_at or (about and f"{what} {about[0]}" == self.fails_at):
            raise self.error

    def wait_until_made(self):
        self._do("made")

    def open(self, opening):
        self._do("open", opening.run_name)

    def log(self, step, figures):
        self._do("log", step, figures)

    def end(self, ending):
        self._do("end", ending.status, ending.step)

    def close(self, seconds=0):
        self.closed = True


def crew_of(*makes, **spec):
    lines = []
    specs = TensorBoardSpec(kind="tensorboard", **spec)
    guards = [Guard(f"t{place}", specs, make) for place, make in enumerate(makes)]
    return Crew(guards, lines.append), lines


def play(crew, record, steps=3):
    crew.start(record)
    for step in range(1, steps + 1):
        crew.on_step(Step(step), steps)
    crew.on_validation(steps, 0.5, {"accuracy": 0.5, "calibration_error": None})
    crew.end(record)


def test_a_whole_trial_is_told_in_order(record):
    fake = Fake()
    crew, lines = crew_of(lambda: fake)
    play(crew, record)
    steps = {"train/loss": 0.5, "train/learning_rate": 0.1, "train/gradient_norm": 1.0}
    assert fake.told == [
        ("made",),
        ("open", "lora@bert seed 7"),
        *[("log", step, steps) for step in (1, 2, 3)],
        ("log", 3, {"validation/accuracy": 0.5}),
        ("end", "finished", 3),
    ]
    assert (lines, record.traps) == ([], [])


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("x"), MemoryError(), SystemError(), Warning("w")])
@pytest.mark.parametrize("point", ["made", "open", "log 1", "log 3", "end"])
def test_a_failure_anywhere_is_one_line_and_one_note(point, error, record):
    broken, sound = Fake(point, error), Fake()
    crew, lines = crew_of(lambda: broken, lambda: sound)
    play(crew, record)
    assert len(lines) == 1
    assert "tracker 't0' is switched off in this trial" in lines[0]
    assert type(error).__name__ in lines[0]
    assert len(record.traps) == 1
    assert "tracker 't0' was switched off" in record.traps[0]
    last = "end" if point == "end" else point.split()[0]
    assert broken.told[-1][0] == last, "nothing is told after a failure"
    assert broken.closed
    assert sound.told[-1] == ("end", "finished", 3)


def test_an_interrupt_gets_through(record):
    crew, _ = crew_of(lambda: Fake("open", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        crew.start(record)


def test_the_next_trial_tries_again_until_patience_ends(record):
    made = []

    def make():
        made.append(Fake("open"))
        return made[-1]

    crew, lines = crew_of(make)
    for _ in range(PATIENCE_TRIALS + 2):
        play(crew, record)
    assert len(made) == PATIENCE_TRIALS
    assert "3 trials in a row" in lines[-1]


def test_a_trial_tracked_to_its_end_restores_patience(record):
    fakes = [Fake("open"), Fake("open"), Fake(), Fake("open"), Fake("open")]
    crew, _ = crew_of(lambda: fakes.pop(0))
    for _ in range(3):
        play(crew, record)
    crew.close()
    for _ in range(2):
        play(crew, record)
    assert fakes == []


def test_a_slow_tracker_is_switched_off(record, monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(module, "SLOW_SHARE", 0.0)
    fake = Fake()
    crew, lines = crew_of(lambda: fake)
    play(crew, record)
    assert [what for what, *_ in fake.told] == ["made", "open", "log"]
    assert "it took" in lines[0]


def test_a_slow_start_is_no_slow_tracker(record, monkeypatch):
    """A library may take long to import: that is outside the trial's clocks."""
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.2)
    fake = Fake()
    fake.wait_until_made = lambda: time.sleep(0.4)
    crew, lines = crew_of(lambda: fake)
    play(crew, record)
    assert lines == []


def test_a_process_that_does_not_end_properly_is_nothing_to_a_study(record):
    broken, sound = Fake(), Fake()
    broken.close = lambda seconds: 1 / 0
    crew, _ = crew_of(lambda: broken, lambda: sound)
    play(crew, record)
    crew.close()
    assert sound.closed


def test_a_tracker_says_how_often_it_is_told(record):
    fake = Fake()
    crew, _ = crew_of(lambda: fake, every=4)
    play(crew, record, steps=10)
    logged = [step for what, step, *rest in fake.told[2:-1] if "train/loss" in rest[0]]
    assert logged == [1, 4, 8, 10]


def test_a_loss_keeps_its_own_sign(record):
    fake = Fake()
    crew, _ = crew_of(lambda: fake)
    crew.start(record)
    crew.on_validation(2, -0.7, {"loss": 0.7, "accuracy": 0.5})
    assert fake.told[-1][2] == {"validation/loss": 0.7, "validation/accuracy": 0.5}


def test_what_is_no_number_is_left_out(record):
    fake = Fake()
    crew, _ = crew_of(lambda: fake)
    crew.start(record)
    crew.on_step(Step(1, loss=float("nan"), gradient_norm=float("inf")), 1)
    crew.on_validation(1, float("nan"), {"loss": float("nan"), "accuracy": None})
    assert [told for told in fake.told if told[0] == "log"] == [("log", 1, {"train/learning_rate": 0.1})]


def test_run_names(record):
    fake = Fake()
    crew, _ = crew_of(lambda: fake, run_name="{study}/{kind}-{backbone}-{id}")
    crew.start(record)
    assert fake.told[-1] == ("open", "reviews/lora-bert-abc")


@pytest.mark.parametrize("missing, remedy", [(True, r"pip install 'whichtune\[tensorboard\]'"), (False, "leave the")])
def test_a_library_that_is_missing_is_told_before_anything_else(missing, remedy):
    fake = Fake("made", TrackerError("ModuleNotFoundError: no x", missing=missing))
    crew, _ = crew_of(lambda: fake)
    with pytest.raises(SpecError, match=rf"trackers\.t0: tensorboard cannot be used: .*{remedy}"):
        crew.prepare()
    assert fake.closed


def test_no_trackers_cost_nothing(record):
    crew = Crew()
    play(crew, record)
    assert record.traps == []
