"""Which searches may go on at the same time: those that can never ask for the same trial.

Where two do, the first to ask owns the trial, and the other's has its entry in its identity. Who comes first is the
order of the plan, and must not be a matter of which process was faster: such searches go on one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from whichtune.spec.digest import canonical
from whichtune.spec.study import StudySpec
from whichtune.study.plan import RATES, Fingerprints, identity_of
from whichtune.study.searching import Search


def chain_searches(
    study: StudySpec, known: Fingerprints, searches: Sequence[Search], *, beside: bool
) -> dict[str, str]:
    """Return each searched candidate with the name of its chain, which is its first candidate.

    All are one chain where trials do not run beside each other, so that a backbone is loaded once, and where searches
    are counted in seconds, of which each should have its own.
    """
    if not beside or (study.search is not None and study.search.seconds is not None):
        return {one.base.candidate: searches[0].base.candidate for one in searches}
    chains = {one.base.candidate: one.base.candidate for one in searches}
    identities = {one.base.candidate: identity_of(one.base, study, known) for one in searches}
    for first, second in combinations(searches, 2):
        names = first.base.candidate, second.base.candidate
        varied = {*first.space.fields, *second.space.fields, *RATES}  # a rate's default may hang on what is varied
        if _without(identities[names[0]], varied) == _without(identities[names[1]], varied):
            kept, left = chains[names[0]], chains[names[1]]
            chains = {name: kept if chain == left else chain for name, chain in chains.items()}
    return chains


def count_chains(study: StudySpec, searches: Sequence[Search]) -> int:
    """Count the chains before any backbone is read: names stand for weights, so two names are two."""
    names = _Names()
    known = Fingerprints("", weights=names, tokenizers=names, prompts=names, manners=names)
    return len(set(chain_searches(study, known, searches, beside=True).values()))


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


def _without(identity: Mapping[str, Any], varied: set[str]) -> str:
    method = {name: value for name, value in identity["method"].items() if name not in varied}
    return canonical({**identity, "method": method})
