"""How many processes train at the same time, with how many threads each: as the study says, or as was measured.

The threads of a study stay what its first run took, since they move the last bits of its results; how many processes
there are moves none, and may change.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from whichtune.engine.batches import plan_steps
from whichtune.errors import InputError, SpecError, WorkerError
from whichtune.measure.cores import count_cores
from whichtune.measure.device import read_cpu_name, read_free_bytes
from whichtune.measure.memory import read_rss
from whichtune.spec.digest import digest
from whichtune.spec.study import StudySpec
from whichtune.spec.training import ExecutionSpec
from whichtune.study.chains import count_chains
from whichtune.study.execute import Desk
from whichtune.study.hands import Hands
from whichtune.study.plan import Planned, family_of, list_candidates, plan_study
from whichtune.study.stages import count_expected, list_searches
from whichtune.study.timing import Timer

MOST_WORKERS = 4
"""Processes that `auto` tries: each holds the backbone once more, and its checking process again."""
LEAST_TRAININGS = 4
"""With fewer left nothing is measured, and one process runs them."""
WORTH_SECONDS = 45.0
"""What the steps of the trainings that are left must take in one process before others are started to be measured."""
LEAST_GAIN = 1.0
"""Several processes are taken where they are more than so many times as fast: by then their start is paid."""
MOST_TRIED = 3
"""Candidates that are timed alone: one may make no sense on its backbone, or train next to nothing."""


class Timing(Hands, Protocol):
    """Hands that can be timed."""

    def time_together(self, planned: Planned, steps: int) -> list[float]:
        """Return the seconds of each step that all took of a candidate at the same time, their mean."""
        ...


Assemble = Callable[[Desk], Timing]


@dataclass(frozen=True)
class Pace:
    """How a study's trials run."""

    workers: int
    threads: int
    """Of each."""
    why: str = ""
    """In words, where the study left it open."""
    measured: Mapping[str, Any] | None = None
    """What was measured, as it stands among the study's decisions."""

    @property
    def decisions(self) -> dict[str, Any]:
        """What is written into the study."""
        told = {} if self.measured is None else {"workers_measured": dict(self.measured)}
        return {"threads": self.threads, "workers": self.workers, **told}


def require_cores(execution: ExecutionSpec, cores: int | None = None) -> None:
    """Refuse more workers, or more threads in them, than there are cores."""
    workers, threads, cores = execution.workers, execution.threads, cores or count_cores()
    if isinstance(workers, str) or workers == 1:
        return
    if workers > cores:
        allowed = f"at most {cores}, the cores that this process may use, or `auto`"
        raise SpecError("execution.workers", value=workers, allowed=allowed)
    if threads is not None and threads * workers > cores:
        allowed = f"at most {cores // workers} with {workers} workers on {cores} cores"
        raise SpecError("execution.threads", value=threads, allowed=allowed, remedy="or leave it out")


def share_cores(execution: ExecutionSpec, workers: int, earlier: Mapping[str, Any], cores: int) -> int:
    """Return the threads of each worker: as asked, else those of the study's first run, else a fair share."""
    if execution.threads is not None:
        return execution.threads
    kept = earlier.get("threads")
    if isinstance(kept, int) and (workers == 1 or kept * workers <= cores):
        return kept
    return max(1, cores // workers)


@dataclass(frozen=True)
class Open:
    """A pace that is not decided yet: one process, or several."""

    one: Pace
    several: Pace
    trainings: int
    """How many are left."""
    about: str
    """Hash of data, machine and way of multiplying: of others the figures say nothing."""


def settle(desk: Desk, earlier: Mapping[str, Any], cores: int | None = None) -> Pace | Open:
    """Return what study and earlier runs decide, or what is to be measured."""
    study, cores = desk.shared.study, cores or count_cores()
    execution = study.execution
    if execution.workers != "auto":
        return Pace(execution.workers, share_cores(execution, execution.workers, earlier, cores))
    one = Pace(1, share_cores(execution, 1, earlier, cores))
    about = digest([desk.shared.data.fingerprint, read_cpu_name(), cores, execution.threads, study.engine.onednn])
    held = earlier.get("workers_measured")
    if isinstance(held, Mapping) and held.get("about") == about and "together" in held:
        workers = int(earlier.get("workers", 1))
        return Pace(workers, share_cores(execution, workers, earlier, cores), measured=held)
    trainings = count_trainings(desk)
    bound = "threads" in earlier or execution.threads is not None
    side_by_side = _count_side_by_side(study, trainings)
    workers = min(MOST_WORKERS, side_by_side, cores // one.threads if bound else cores)
    why = _stand_alone(desk, trainings, side_by_side, workers)
    if why:
        return replace(one, why=why)
    several = Pace(workers, one.threads if bound else cores // workers)
    return Open(one, several, trainings, about)


def count_trainings(desk: Desk) -> int:
    """Count the trainings that are left, as far as is known: those of searches as many as there are at least."""
    study = desk.shared.study
    others = sum(family_of(one.method) != "tuner" for one in plan_study(study))
    over = [*desk.folder.read_trials(), *desk.folder.read_trials("search"), *desk.folder.read_trials("size")]
    done = sum(one.known_family == "tuner" and one.status != "running" for one in over)
    return max(0, count_expected(study) - others - done)


def measure(desk: Desk, asked: Open, assemble: Assemble) -> tuple[Pace, Timing | None]:
    """Time a few steps in this process, then of the slowest in several at once; return those too if they are taken.

    Costs the steps (3 to 12 of a candidate, about 10 s unless three take longer; of three candidates here, of one in
    several) and the start of the processes, which are started only where the trainings that are left are long enough;
    whoever assembles them closes them where this raises.
    """
    timed = _time_alone(desk)
    if not timed:
        return replace(asked.one, why="no candidate trains more than its head"), None
    whole = asked.trainings * statistics.fmean(statistics.median(seconds) * steps for _, seconds, steps in timed)
    planned, seconds, _ = max(timed, key=lambda one: statistics.median(one[1]))
    told: dict[str, Any] = {
        "about": asked.about,
        "candidate": planned.candidate,
        "trainings": asked.trainings,
        "steps": len(seconds),
        "alone": {"threads": asked.one.threads, "step_seconds": statistics.median(seconds)},
    }
    why = _too_little(desk, asked, whole)
    if why:
        return replace(asked.one, why=why, measured=told), None
    crowd = assemble(replace(desk, threads=asked.several.threads, workers=asked.several.workers))
    try:
        pace = weigh(asked, told, seconds, crowd.time_together(planned, len(seconds)))
    except WorkerError as error:
        crowd.close()
        return replace(asked.one, why=str(error), measured=told), None
    if pace.workers == 1:
        crowd.close()
    return pace, crowd if pace.workers > 1 else None


def weigh(asked: Open, told: Mapping[str, Any], alone: Sequence[float], beside: Sequence[float]) -> Pace:
    """Choose by the seconds of the same steps alone and beside others; a last round that is not full counts as one.

    Steps are compared one by one, since a batch of long texts is slow either way.
    """
    workers = asked.several.workers
    each = statistics.median(one / other for one, other in zip(alone, beside, strict=True))
    gain = asked.trainings / math.ceil(asked.trainings / workers) * each
    together = {"workers": workers, "threads": asked.several.threads, "step_seconds": statistics.median(beside)}
    chosen = asked.several if gain > LEAST_GAIN else asked.one
    why = f"{workers} are {gain:.2f} times as fast as one, measured on {told['candidate']}"
    return replace(chosen, why=why, measured={**told, "together": together, "times_as_fast": round(gain, 3)})


def _stand_alone(desk: Desk, trainings: int, side_by_side: int, workers: int) -> str:
    """Say why there is nothing to measure; nothing where there is."""
    study = desk.shared.study
    if desk.shared.device.type != "cpu":
        return "it shares one GPU among processes only where it is told to"
    if trainings < LEAST_TRAININGS:
        return f"fewer than {LEAST_TRAININGS} trainings are left"
    if study.search is not None and study.search.seconds is not None:
        return "its searches try what their seconds allow, which would be less beside others"
    if side_by_side < 2:
        return "its search asks for one training after the other"
    if workers < 2:
        return "one process has all cores"
    return ""


def _count_side_by_side(study: StudySpec, trainings: int) -> int:
    """Count the trainings that need not wait for each other: of a search that learns from each, one at a time."""
    if study.search is None or (study.search.engine == "grid" and study.search.seconds is None):
        return trainings
    return count_chains(study, list_searches(study)) or trainings


def _too_little(desk: Desk, asked: Open, whole: float) -> str:
    """Say why several processes are not tried; nothing where they are."""
    if whole < WORTH_SECONDS:
        return f"its trainings take about {whole:.0f} s in one process"
    held, free = read_rss().value, read_free_bytes(desk.shared.device)
    if held is not None and free is not None and held * asked.several.workers > free:
        return f"memory has no room for {asked.several.workers} such processes"
    return ""


def _time_alone(desk: Desk) -> list[tuple[Planned, list[float], int]]:
    """Return the first candidates that train more than their head: seconds of some steps, and steps of a training."""
    tuners = [one for one in _seeded(desk.shared.study) if family_of(one.method) == "tuner"]
    timed = list[tuple[Planned, list[float], int]]()
    for planned in tuners[:MOST_TRIED]:
        try:
            found = _time(desk, planned)
        except InputError:
            raise
        except Exception:  # its trial will meet it, and record it
            desk.shared.drop()
            continue
        if found is not None:
            timed.append((planned, *found))
    return timed


def _time(desk: Desk, planned: Planned) -> tuple[list[float], int] | None:
    timer = Timer(desk.shared, planned)
    try:
        rows = len(timer.trial.material.encoded["train"])
        return None if timer.head_alone else (timer.take(), plan_steps(rows, timer.trial.training).total)
    finally:
        timer.close()


def _seeded(study: StudySpec) -> list[Planned]:
    """List every candidate with the study's first seed."""
    return [replace(one, seed=study.seeds[0]) for one in list_candidates(study)]
