"""The peer of the search mode: a script that trains the whole grid of each method, then its best setting again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from whichtune.bench.model import SideRun
from whichtune.bench.peer import Done, Job, Peer, gather, list_jobs
from whichtune.measure.device import set_threads
from whichtune.spec.search import SearchSpec, Setting, find_space, list_grid


def run_peer_search(peer: Peer, share: float, tell: Callable[[str], None]) -> SideRun:
    """Search each method over its grid and train what was chosen with every seed.

    The budget is ours: as many settings, the entry's own among them, and the best ones again with further seeds. A
    share of a method's search trials may be run, evenly over its grid and with both ends; its seconds are scaled.
    """
    study = peer.study
    assert study.search is not None  # noqa: S101 - the row says so
    set_threads(study.execution.threads)
    start = time.perf_counter()
    peer.read_rows()
    seconds = time.perf_counter() - start
    finals: list[Done] = []
    run, wanted = 0, 0
    for _, jobs in groupby(list_jobs(study), key=lambda job: job.candidate):
        held = list(jobs)
        tried, count = _try_settings(peer, held[0], study.search, share)
        tell(f"Trainer + PEFT: {held[0].candidate}, {len(tried)} of {count} trials of its search")
        chosen = _choose(tried)
        seconds += count * float(np.mean([one.seconds for one in tried]))
        run, wanted = run + len(tried), wanted + count
        finals += [peer.run_trial(replace(job, method=chosen)) for job in held]
    side = gather(peer, [one.job for one in finals], finals, seconds)
    return replace(side, run_trials=run + len(finals), all_trials=wanted + len(finals))


def _try_settings(peer: Peer, job: Job, search: SearchSpec, share: float) -> tuple[list[Done], int]:
    """Run trials of a search; return them and how many there are in a whole one."""
    grid = list_grid(find_space(job.method), search.trials)
    settings: list[Setting] = [*grid, *([{}] if search.own else [])]
    whole = len(settings) + search.best * search.repeats
    if share < 1:
        count = min(len(grid), max(2, round(whole * share)))
        settings = [grid[place] for place in np.linspace(0, len(grid) - 1, count).round().astype(int)]
    tried = [_try(peer, job, setting, search.seed(0)) for setting in settings]
    best = sorted(tried, key=lambda one: -one.validated)[: search.best] if share == 1 else []
    seeds = [search.seed(1 + step) for step in range(search.repeats)]
    again = [peer.run_trial(replace(one.job, seed=seed)) for one in best for seed in seeds]
    return [*tried, *again], whole


def _try(peer: Peer, job: Job, setting: Setting, seed: int) -> Done:
    method = job.method.model_copy(update=setting)
    return peer.run_trial(replace(job, method=method, seed=seed, tests=False))


def _choose(tried: Sequence[Done]) -> Any:
    """Return the method with the best mean score on the validation rows, of those with the most trainings."""
    groups: dict[str, list[Done]] = {}
    for one in tried:
        groups.setdefault(one.job.method.model_dump_json(), []).append(one)
    most = max(map(len, groups.values()))
    kept = [own for own in groups.values() if len(own) == most]
    best = max(kept, key=lambda own: float(np.mean([one.validated for one in own])))
    return best[0].job.method
