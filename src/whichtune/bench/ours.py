"""Our side: a whole study, run as `whichtune run` runs it, into a folder that is thrown away.

What was fetched before (data, weights) is at hand, as it is for the peer; features, prefixes and token ids are made
anew in a cache of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from whichtune.bench.model import Marks, SideRun
from whichtune.bench.passes import timing_passes
from whichtune.bench.timed_worker import sum_workers, timing_workers
from whichtune.data.examples import DataReport
from whichtune.engine.fit import StepFigures
from whichtune.errors import TrialError
from whichtune.fetch.cache import cache_root
from whichtune.measure.device import pick_device
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions, read_predictions
from whichtune.records.trial import TrialRecord
from whichtune.spec.study import StudySpec
from whichtune.study.plan import Planned
from whichtune.study.run import read_decisions, run_study

CACHE = "WHICHTUNE_CACHE"
FETCHED = ("distributions", "extracted", "converted", "docstrings", "drawn")
"""Folders of the cache that hold what was downloaded, unpacked, or turned into another form once and for all."""


class Silent:
    """A watcher that says nothing."""

    def on_data(self, report: DataReport) -> None:
        """Say nothing."""

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """Say nothing."""

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """Say nothing."""

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Say nothing."""

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Say nothing."""

    def on_note(self, text: str) -> None:
        """Say nothing."""


@contextmanager
def fresh_cache(place: Path) -> Generator[None]:
    """Use an empty cache inside, beside what was fetched before."""
    held, before = cache_root(), os.environ.get(CACHE)
    place.mkdir(parents=True)
    for name in FETCHED:
        if (held / name).is_dir():
            (place / name).symlink_to(held / name, target_is_directory=True)
    os.environ[CACHE] = str(place)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before


def run_ours(study: StudySpec, *, loading: bool = True) -> SideRun:
    """Run a study from nothing; its baseline, which needs no backbone, is in the time and nowhere else.

    Without `loading` the seconds of loading backbones are taken off, for weights that no file holds.
    """
    with tempfile.TemporaryDirectory() as place, fresh_cache(Path(place) / "cache"):
        workers = Path(place) / "workers"
        device = pick_device(study.execution.device)
        with timing_passes(device) as passes, timing_workers(workers, device):
            start = time.perf_counter()
            outcome = run_study(study, Path(place) / "runs", Silent())
            seconds = time.perf_counter() - start
        if outcome.failed:
            first = outcome.failed[0]
            why = "" if first.failure is None else first.failure.message
            raise TrialError(f"{first.candidate} seed {first.seed}: {first.status}; {why}")
        seconds -= 0.0 if loading else _sum_loads(outcome.folder)
        tuned = [one for one in outcome.records if not one.baseline]
        processes = int(read_decisions(outcome.folder)["workers"])
        inside = passes.seconds + (sum_workers(workers) if processes > 1 else 0.0)  # else they were tried and refused
        return read_side(outcome.folder, tuned, seconds, (len(tuned) + len(outcome.searched), inside / processes))


def _sum_loads(folder: StudyFolder) -> float:
    return sum(float(line["seconds"]) for line in folder.read_costs() if line["what"] == "load")


def read_side(folder: StudyFolder, records: list[TrialRecord], seconds: float, spent: tuple[int, float]) -> SideRun:
    """Read what trials left on disk; `spent` is how many there were and their seconds inside passes, a process."""
    trials, inside = spent
    tables: dict[str, list[Predictions]] = {}
    steps: dict[str, set[int]] = {}
    for record in records:
        table = read_predictions(folder.trial(record.id).predictions, "test")["test"]
        tables.setdefault(record.candidate, []).append(table)
        steps.setdefault(record.candidate, set()).add(record.steps or 0)
    return SideRun(
        seconds=seconds,
        run_trials=trials,
        all_trials=trials,
        steps={name: frozenset(own) for name, own in steps.items()},
        tokens={name: _count_tokens(own[0].tokens_in) for name, own in tables.items()},
        marks={name: mark(own) for name, own in tables.items()},
        outside=max(0.0, 1 - inside / seconds),
        phases=sum_phases(folder),
    )


def sum_phases(folder: StudyFolder) -> dict[str, float]:
    """Add up the seconds of all trials by phase, and of what they share by what it was."""
    found: defaultdict[str, float] = defaultdict(float)
    for record in [*folder.read_trials(), *folder.read_trials("search")]:
        for name, phase in record.phases.items():
            found[name] += phase.seconds
    for line in folder.read_costs():
        found[f"shared: {line['what']}"] += float(line["seconds"])
    return dict(found)


def _count_tokens(lengths: Any) -> int:
    return 0 if lengths is None else int(np.sum(lengths))


def mark(tables: list[Predictions]) -> Marks:
    """Score each test row of several trainings: labels as right or wrong, texts by minus their loss."""
    first = tables[0]
    words = not first.labels
    if words:
        values = [-one.loss.astype(np.float64) for one in tables]
    else:
        pairs = [zip(one.gold, one.parsed, strict=True) for one in tables]
        values = [np.array([gold == parsed for gold, parsed in own], np.float64) for own in pairs]
    return Marks(tuple(first.ids), np.stack(values), binary=not words)
