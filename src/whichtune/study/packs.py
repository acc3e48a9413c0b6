"""Trials of one stage that train in one pass over their backbone, each with its own record, as if it were alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from whichtune.engine.fit import Listener, StepFigures
from whichtune.engine.guards import fitting_in_memory
from whichtune.engine.pace import Pace
from whichtune.engine.packed import run_packed
from whichtune.engine.packing_up import Packable, find_packs, limit_pack
from whichtune.engine.slots import Candidate, SlotAssembly, build_packed
from whichtune.engine.trial import CurveWriter, Material, Outcome, TunerTrial
from whichtune.engine.turns import SharedMeter, Turns
from whichtune.errors import DoesNotFitError, TrialError
from whichtune.measure.clock import PhaseClock
from whichtune.measure.device import synchroniser
from whichtune.measure.memory import choose_meter
from whichtune.records.trial import TrialRecord
from whichtune.spec.lora import LoraBase
from whichtune.spec.seeds import Streams
from whichtune.study.execute import (
    Desk,
    begin,
    close_clock,
    ending,
    execute,
    keep_trained,
    load_described,
    require_intact,
    set_up,
    take_material,
)
from whichtune.study.plan import Planned
from whichtune.study.sizing import training_at
from whichtune.trackers.crew import Crew


@dataclass(frozen=True)
class Asked:
    """One trial that is to be run among others."""

    planned: Planned
    identity: dict[str, Any]
    turn: Callable[[], None]
    """Tells whoever follows the study that this trial speaks from here on."""


def divide(desk: Desk, trials: Sequence[Planned]) -> list[list[int]]:
    """Return the places of trials that train together, each place once, in the order of each pack's first.

    With several workers every trial is alone: a worker has few cores, and no GPU is shared unasked.
    """
    study, shared = desk.shared.study, desk.shared
    most = limit_pack(study.engine.pack, shared.device.type) if desk.workers == 1 else 1
    known = {place: one for place, planned in enumerate(trials) if (one := _describe(desk, planned)) is not None}
    places = list(known) if most > 1 else []
    packs = [[places[one] for one in pack] for pack in find_packs([known[place] for place in places], most)]
    return sorted(packs + [[place] for place in range(len(trials)) if place not in places])


def _describe(desk: Desk, planned: Planned) -> Packable | None:
    """Say what decides with whom a trial trains; None where it trains alone whatever the others are."""
    if planned.backbone is None or not isinstance(planned.method, LoraBase):
        return None
    return Packable(planned.backbone, desk.request(planned), planned.method, training_at(planned, desk.shared))


def execute_pack(desk: Desk, asked: Sequence[Asked]) -> Iterator[tuple[int, TrialRecord]]:
    """Run trials in one pass; yield their places and records, as `execute` returns them, when the backbone is free.

    A pack that cannot be brought to train is run one trial after another, and so is a trial that does not fit beside
    the others: whatever is wrong is found again where it is nobody else's. An interrupt leaves all that is not yet
    yielded unfinished.
    """
    entries = [Entry(desk, one) for one in asked]
    pace = Pace() if desk.shared.study.engine.pack == "auto" else Pace(together=True)
    why = ""
    try:
        _train(desk, entries, pace)
    except Exception as error:  # each meets its own alone, and records it
        why = f"{type(error).__name__}: {error}"
        traceback.clear_frames(error.__traceback__)  # they would hold the tensors of all
        if not desk.shared.intact():
            desk.shared.drop()
    alone = [entry for entry in entries if why or isinstance(entry.error, DoesNotFitError)]
    for place, entry in enumerate(entries):
        if entry not in alone:
            entry.asked.turn()
            yield place, entry.conclude(pace, len(entries))
    for place, entry in enumerate(entries):
        if entry in alone:
            entry.asked.turn()
            yield place, entry.run_alone(why or str(entry.error))


@dataclass(eq=False)
class Entry:
    """One trial of a pack."""

    desk: Desk
    asked: Asked
    record: TrialRecord = field(init=False)
    tape: Tape = field(init=False)
    error: Exception | None = None
    """What ended it."""

    def __post_init__(self) -> None:
        self.record = begin(self.desk, self.asked.planned, self.asked.identity)
        self.tape = Tape(self.desk.trackers)

    @property
    def listeners(self) -> Iterator[Listener]:
        """Those of the desk, each told whose step it is; trackers are told afterwards."""
        if self.desk.trackers.guards:
            yield self.tape
        for one in self.desk.listeners:
            if one is not self.desk.trackers:
                yield Turned(one, self.asked.turn)

    def build(self) -> Candidate:
        """Return what its model is built from."""
        planned = self.asked.planned
        assert isinstance(planned.method, LoraBase)  # noqa: S101 - only those are packed
        training = training_at(planned, self.desk.shared)
        return Candidate(planned.method, training.head_dropout, Streams(planned.seed, planned.method.stream))

    def keep(self, trial: TunerTrial, outcome: Outcome | Exception) -> None:
        """Keep what training gave, or what ended it."""
        try:
            with fitting_in_memory(self.desk.shared.device):
                if isinstance(outcome, Exception):
                    raise outcome
                keep_trained(self.desk, self.asked.planned, self.record, trial, outcome)
        except Exception as error:  # its own failure; the others go on
            self.error = error

    def conclude(self, pace: Pace, members: int) -> TrialRecord:
        """Leave its record as it is at the end."""
        self.record.device |= describe_pack(pace, members)
        with ending(self.desk, self.asked.planned, self.record, self.tape.play):
            if self.error is not None:
                raise self.error
        return self.record

    def run_alone(self, why: str) -> TrialRecord:
        """Run it anew, without the others."""
        self.error = None
        record = execute(self.desk, self.asked.planned, self.asked.identity)
        record.device |= {"pack": 1, "pack_reason": why}
        self.desk.folder.trial(record.id).write(record)
        return record


def describe_pack(pace: Pace, members: int) -> dict[str, Any]:
    """Return what the records of a pack say of it; a gain that was not measured is left out."""
    if pace.together is None:
        reason = "their trainings were over before both ways were timed"
        return {"pack": members, "pack_together": False, "pack_reason": reason}
    told = {"pack": members, "pack_together": pace.together}
    told |= {"pack_reason": pace.reason} if pace.reason else {}
    return told if pace.gain is None else told | {"pack_gain": round(pace.gain, 3)}


def _train(desk: Desk, entries: Sequence[Entry], pace: Pace) -> None:
    """Train all in one pass, keep what each gave, and give the backbone back."""
    turns = Turns()
    materials = [take_material(desk, entry.asked.planned) for entry in entries]
    clocks = list(_make_clocks(desk, entries, turns))
    everyone = dict.fromkeys(range(len(entries)), 1.0)
    with turns.giving(everyone):
        assemblies = _build(desk, entries, materials, clocks)
    try:
        with ExitStack() as files:
            trials: list[TunerTrial] = []
            for place, (entry, assembly) in enumerate(zip(entries, assemblies, strict=True)):
                curve = files.enter_context(desk.folder.trial(entry.record.id).curve.open("w", encoding="utf-8"))
                listeners = (CurveWriter(curve), *entry.listeners)
                given = materials[place], clocks[place]
                with turns.giving({place: 1}):
                    trials.append(set_up(desk, entry.asked.planned, entry.record, assembly, given, listeners))
            outcomes = run_packed(trials, pace, turns)
        for place, entry in enumerate(entries):
            with turns.giving({place: 1}):
                entry.keep(trials[place], outcomes[place])
    finally:
        with turns.giving(everyone):
            for assembly in assemblies:
                assembly.attachment.detach()
    with turns.giving(everyone):
        _prove_intact(desk, entries)
    for entry, clock in zip(entries, clocks, strict=True):
        close_clock(entry.record, clock)


def _build(
    desk: Desk, entries: Sequence[Entry], materials: Sequence[Material], clocks: Sequence[PhaseClock]
) -> list[SlotAssembly]:
    """Load the backbone and put every trial's adapters onto it."""
    pairs = zip(entries, materials, strict=True)
    backbones = [load_described(desk, entry.asked.planned, entry.record, material) for entry, material in pairs]
    candidates = [entry.build() for entry in entries]
    with ExitStack() as phases:
        for clock in clocks:
            phases.enter_context(clock.phase("attach"))
        return build_packed(backbones[0], candidates, desk.shared.task.head())


def _make_clocks(desk: Desk, entries: Sequence[Entry], turns: Turns) -> Iterator[PhaseClock]:
    """Yield a clock for each, which counts what is its own; one meter shows all of them the peaks."""
    device = desk.shared.device
    meter, why = choose_meter(device)
    shared = None if meter is None else SharedMeter(meter)
    for place, entry in enumerate(entries):
        if shared is None:
            entry.record.unmeasured["phases.peak_bytes"] = str(why)
        view = None if shared is None else shared.view()
        yield PhaseClock(synchronise=synchroniser(device), meter=view, now=turns.source(place))


def _prove_intact(desk: Desk, entries: Sequence[Entry]) -> None:
    """Fail all that came through where the backbone is not what it was: whose doing it is cannot be told."""
    try:
        require_intact(desk.shared)
    except TrialError as error:
        for entry in entries:
            entry.error = entry.error or error


@dataclass(frozen=True)
class Turned:
    """Tells a listener of one trial's steps, and first whose they are."""

    listener: Listener
    turn: Callable[[], None]

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Tell of a step."""
        self.turn()
        self.listener.on_step(figures, total)

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Tell of a validation."""
        self.turn()
        self.listener.on_validation(step, score, metrics)


@dataclass
class Tape:
    """Keeps what one trial told, for trackers: they follow one trial at a time, and are told of it when it is over."""

    crew: Crew
    told: list[Callable[[], None]] = field(default_factory=list)

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Keep a step."""
        self.told.append(lambda: self.crew.on_step(figures, total))

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Keep a validation."""
        self.told.append(lambda: self.crew.on_validation(step, score, metrics))

    def play(self, record: TrialRecord) -> None:
        """Tell the trackers of the trial from its start to its end."""
        self.crew.start(record)
        for guard in self.crew.guards:  # what they take is held against the time that the trial took
            guard.began -= record.wall_seconds or 0.0
        for tell in self.told:
            tell()
        self.crew.end(record)
