"""Phases partition the wall time, whatever is nested and however it ends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.measure.clock import PHASES, PhaseClock


class Timer:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    def __call__(self) -> int:
        return self.nanoseconds

    def run(self, nanoseconds: int) -> None:
        self.nanoseconds += nanoseconds


class Memory:
    """A meter over a fake memory."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0

    def use(self, value: int) -> None:
        self.now = value
        self.peak = max(self.peak, value)

    def reset(self) -> None:
        self.peak = self.now

    def read(self) -> int | None:
        return self.peak


def fail_after(timer: Timer, nanoseconds: int, failure: type[BaseException]) -> None:
    timer.run(nanoseconds)
    raise failure


NODES = st.recursive(
    st.tuples(st.integers(0, 10**12), st.just("run"), st.just(())),
    lambda inner: st.tuples(st.integers(0, 10**12), st.sampled_from(PHASES), st.lists(inner, max_size=4).map(tuple)),
    max_leaves=20,
)


@given(st.lists(NODES, max_size=6), st.sampled_from([None, KeyboardInterrupt, RuntimeError]))
def test_phases_add_up_to_the_wall_time_exactly(nodes, failure):
    timer = Timer()
    clock = PhaseClock(now=timer)
    expected = dict.fromkeys(PHASES, 0)

    def walk(node, current):
        nanoseconds, name, inner = node
        if name == "run":
            timer.run(nanoseconds)
            expected[current] += nanoseconds
            return
        with clock.phase(name):
            for part in inner:
                walk(part, name)
            timer.run(nanoseconds)
            expected[name] += nanoseconds

    for node in nodes:
        walk(node, "other")
    if failure is not None:
        expected["save"] += 7
        with pytest.raises(failure), clock.phase("step"), clock.phase("save"):
            fail_after(timer, 7, failure)
    assert clock.current == "other"
    timeline = clock.read()
    assert sum(figures.nanoseconds for figures in timeline.phases.values()) == timeline.wall_nanoseconds
    assert timeline.wall_nanoseconds == timer.nanoseconds
    assert {name: figures.nanoseconds for name, figures in timeline.phases.items() if figures.nanoseconds} == {
        name: value for name, value in expected.items() if value
    }


def test_real_time_adds_up_exactly_too():
    clock = PhaseClock()
    for _ in range(50):
        with clock.phase("step"), clock.phase("save"):
            time.sleep(0)
    timeline = clock.read()
    assert sum(figures.nanoseconds for figures in timeline.phases.values()) == timeline.wall_nanoseconds
    assert set(timeline.phases) == {"other", "step", "save"}


def test_a_slower_validation_changes_validate_alone():
    def run(validation):
        timer = Timer()
        clock = PhaseClock(now=timer)
        with clock.phase("step"):
            timer.run(5)
            with clock.phase("validate"):
                timer.run(validation)
            timer.run(6)
        with clock.phase("predict"):
            timer.run(3)
        return {name: figures.nanoseconds for name, figures in clock.read().phases.items()}

    quick, slow = run(10), run(1000)
    assert quick["validate"] == 10
    assert slow == {**quick, "validate": 1000}
    assert quick["step"] == 11


def test_waits_for_the_device_inside_the_phase_that_gave_it_work():
    timer = Timer()
    pending = [0]

    def synchronise():
        timer.run(pending[0])
        pending[0] = 0

    clock = PhaseClock(now=timer, synchronise=synchronise)
    with clock.phase("step"):
        pending[0] = 100
    timer.run(1)
    phases = clock.read().phases
    assert phases["step"].nanoseconds == 100
    assert phases["other"].nanoseconds == 1


def test_peak_of_an_outer_phase_leaves_out_the_inner_one():
    memory = Memory()
    memory.use(50)
    clock = PhaseClock(now=Timer(), meter=memory)
    with clock.phase("step"):
        memory.use(300)
        memory.use(100)
        with clock.phase("validate"):
            memory.use(900)
            memory.use(120)
        memory.use(200)
        memory.use(60)
    phases = clock.read().phases
    assert phases["step"].peak_bytes == 300
    assert phases["validate"].peak_bytes == 900
    assert phases["other"].peak_bytes == 60


def test_peak_after_the_inner_phase_counts():
    memory = Memory()
    clock = PhaseClock(now=Timer(), meter=memory)
    with clock.phase("step"):
        memory.use(10)
        with clock.phase("save"):
            memory.use(20)
            memory.use(5)
        memory.use(70)
    assert clock.read().phases["step"].peak_bytes == 70


def test_peak_is_none_without_a_meter_and_starts_with_one():
    memory, timer = Memory(), Timer()
    clock = PhaseClock(now=timer)
    with clock.phase("import"):
        timer.run(4)
    clock.use(meter=memory)
    with clock.phase("load"):
        memory.use(8)
    phases = clock.read().phases
    assert phases["import"].peak_bytes is None
    assert phases["load"].peak_bytes == 8
    assert phases["import"].nanoseconds == 4


def test_a_peak_that_once_could_not_be_read_stays_unknown_only_where_it_was_needed():
    memory = Memory()
    clock = PhaseClock(now=Timer(), meter=memory)
    memory.read = lambda: None
    with clock.phase("step"):
        pass
    memory.read = lambda: 5
    with clock.phase("save"):
        pass
    phases = clock.read().phases
    assert phases["step"].peak_bytes is None
    assert phases["save"].peak_bytes == 5


def test_an_interrupt_leaves_the_clock_usable():
    timer = Timer()
    clock = PhaseClock(now=timer)
    with pytest.raises(KeyboardInterrupt), clock.phase("step"):
        fail_after(timer, 2, KeyboardInterrupt)
    with clock.phase("save"):
        timer.run(3)
    phases = clock.read().phases
    assert (phases["step"].nanoseconds, phases["save"].nanoseconds) == (2, 3)


def test_a_broken_device_does_not_hide_the_error_on_its_way_up():
    def synchronise():
        if broken:
            raise OSError("device")

    def fail_and_break():
        broken.append(1)
        raise ValueError("the reason")

    broken = []
    clock = PhaseClock(now=Timer(), synchronise=synchronise)
    with pytest.raises(ValueError, match="the reason"), clock.phase("step"):
        fail_and_break()
    assert clock.current == "other"
    with pytest.raises(OSError, match="device"), clock.phase("step"):
        pass
    assert clock.current == "other"


def test_reading_in_the_middle_does_not_end_the_phase():
    timer = Timer()
    clock = PhaseClock(now=timer)
    with clock.phase("step"):
        timer.run(1)
        assert clock.read().phases["step"].nanoseconds == 1
        timer.run(1)
    assert clock.read().phases["step"].nanoseconds == 2
    assert clock.read().phases["step"].seconds == pytest.approx(2e-9)


def test_unknown_phase_is_refused():
    clock = PhaseClock()
    with pytest.raises(ValueError, match="no phase 'train'"), clock.phase("train"):
        pass
