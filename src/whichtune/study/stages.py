"""Which trials a study asks for next: searches, the final seeds, further seeds for those that lead, smaller sizes.

A pure function of the study and of the trials that are over, so that resuming needs nothing but records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from whichtune.records.search import CandidateSearch
from whichtune.spec.grids import with_setting
from whichtune.spec.method_base import MethodBase
from whichtune.spec.search import SearchSpec, Space, find_space
from whichtune.spec.sizes import list_sizes
from whichtune.spec.study import StudySpec
from whichtune.study.plan import Planned, learns_from_rows, list_candidates, plan_study
from whichtune.study.rank_sharing import rank_of, require_sharing, share_ranks
from whichtune.study.searching import Result, Search

LEAST_SEEDS = 3
"""Fewer final seeds say too little about who leads."""
LEAST_CONTENDERS = 2


def next_trials(
    study: StudySpec,
    results: Sequence[Result],
    find_contenders: Callable[[], Collection[str]],
    chains: Mapping[str, str] | None = None,
) -> list[Planned]:
    """Return the trials to run now; none where the study is over.

    `find_contenders` names the candidates that could be the best by their validation rows; it is asked once all of
    `seeds` are in, and must answer by those seeds alone, whatever further ones there are. Searches of one of `chains`
    (candidate to chain) go on one after the other, chains at the same time; without any all are one.
    """
    searches = list_searches(study, results)
    asked = ask_searches(searches, chains)
    if asked:
        return asked
    found = {one.planned.key for one in results}
    final = plan_finals(study, searches)
    for stage in (
        lambda: final,
        lambda: _further(study, final, find_contenders),
        lambda: plan_sizes(study, final, results),
    ):
        asked = [one for one in stage() if one.key not in found]
        if asked:
            return asked
    return []


def ask_searches(searches: Sequence[Search], chains: Mapping[str, str] | None = None) -> list[Planned]:
    """Return what the first search of each chain that is not over asks for, be it asked for already or not."""
    found: dict[str, list[Planned]] = {}
    for search in searches:
        chain = "" if chains is None else chains[search.base.candidate]
        if not found.get(chain):
            found[chain] = search.ask()
    return [one for asked in found.values() for one in asked]


def find_search(study: StudySpec, results: Sequence[Result], candidate: str) -> Search:
    """Return the search of a candidate that has one, with the results so far."""
    return next(one for one in list_searches(study, results) if one.base.candidate == candidate)


def list_searches(study: StudySpec, results: Sequence[Result] = ()) -> list[Search]:
    """List the search of every candidate that has something to tune, in the order of the plan."""
    if study.search is None:
        return []
    by_name: dict[str, list[Result]] = {}
    for one in results:
        if one.planned.role == "search":
            by_name.setdefault(one.planned.candidate, []).append(one)
    candidates = list_candidates(study)
    spaces = {one.candidate: find_space(one.method, _held(study, one)) for one in candidates}
    shared = _share(study.search, candidates, spaces)
    taking = {name for names in shared.values() for name in names}
    return [
        Search(study.search, one, spaces[one.candidate], by_name.get(one.candidate, []), shared.get(one.candidate, ()))
        for one in candidates
        if spaces[one.candidate] and one.candidate not in taking
    ]


def _share(
    search: SearchSpec, candidates: Sequence[Planned], spaces: Mapping[str, Space]
) -> dict[str, tuple[str, ...]]:
    """Return who is searched for whom beside itself, where the study asks for that."""
    if search.share is None:
        return {}
    shared = share_ranks(candidates, spaces)
    require_sharing(candidates, spaces, shared)
    return shared


def list_untuned(study: StudySpec) -> list[str]:
    """Name the candidates that get no search: there is nothing to tune in them."""
    if study.search is None:
        return []
    return [one.candidate for one in list_candidates(study) if not find_space(one.method, _held(study, one))]


def plan_finals(study: StudySpec, searches: Sequence[Search]) -> list[Planned]:
    """List the final trials with the settings that the searches chose."""
    chosen = {
        name: setting
        for one in searches
        for setting in [one.choose().setting]
        for name in (one.base.candidate, *one.shared_with)
    }
    return [
        replace(one, method=with_setting(one.method, chosen[one.candidate]), tuned=chosen[one.candidate])
        if one.candidate in chosen
        else one
        for one in plan_study(study)
    ]


def plan_sizes(study: StudySpec, final: Sequence[Planned], results: Sequence[Result]) -> list[Planned]:
    """List the trainings on fewer labelled rows: each candidate at each size with each of the study's seeds.

    Settings are those of the final trials. What does not look at training rows is the same at every size, and what
    makes no sense on its backbone, or does not fit, makes none with fewer rows either.
    """
    sizes = list_sizes(study.sizes)
    over = (one for one in results if one.planned.role == "final")
    hopeless = {one.planned.candidate for one in over if one.status in ("unsupported", "does-not-fit")}
    learning = {one.candidate: one for one in final if learns_from_rows(one.method, study)} if sizes else {}
    return [
        replace(one, role="size", labels=size, seed=seed, deterministic=False)
        for name, one in learning.items()
        if name not in hopeless
        for size in sizes
        for seed in study.seeds
    ]


def count_expected(study: StudySpec) -> int:
    """Count the trials that a study asks for at least, while it is not known what its searches find."""
    search = study.search
    plan = plan_study(study)
    finals = len(plan) + len(plan_sizes(study, plan, ()))
    if search is None:
        return finals
    each = 0 if search.seconds is not None else search.trials + search.own + search.best * search.repeats
    return finals + each * len(list_searches(study))


def further_seeds(study: StudySpec) -> list[int]:
    """List the seeds that contenders get: whole numbers above the study's own, as many as are missing."""
    wanted = max(0, study.contender_seeds - len(study.seeds)) if len(study.seeds) >= LEAST_SEEDS else 0
    taken = set((study.search or SearchSpec()).seeds)
    start = max(study.seeds) + 1
    return [seed for seed in range(start, start + wanted + len(taken)) if seed not in taken][:wanted]


def describe_search(search: Search) -> CandidateSearch:
    """Return what a search that is over chose; the ids of its trials are added by who knows them."""
    chosen, base = search.choose(), search.base
    return CandidateSearch(
        candidate=base.candidate,
        method=base.method_name,
        backbone=base.backbone,
        ranges=dict(search.space.ranges),
        choices={name: list(values) for name, values in search.space.choices.items()},
        own=search.own,
        chosen=chosen.setting,
        score=chosen.score,
        ends=dict(chosen.ends),
        extended=chosen.extended,
        shared_with=list(search.shared_with),
        rank=rank_of(base) if search.shared_with else None,
    )


def _further(
    study: StudySpec, final: Sequence[Planned], find_contenders: Callable[[], Collection[str]]
) -> list[Planned]:
    """List the further seeds of the candidates that lead, where there are two of them or more."""
    seeds = further_seeds(study)
    leading = find_contenders() if seeds else ()
    if len(leading) < LEAST_CONTENDERS:
        return []
    each = {one.candidate: one for one in final if one.candidate in leading and not one.deterministic}
    return [replace(one, seed=seed) for one in each.values() for seed in seeds]


def _held(study: StudySpec, candidate: Planned) -> tuple[str, ...]:
    entry: MethodBase | None = study.methods.get(candidate.method_name)
    return () if entry is None else tuple(entry.grid)
