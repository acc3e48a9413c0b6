"""One search for all ranks: which candidates may share it, and at which rank it runs.

With one `alpha` for all of them an adapter is scaled by alpha / rank, or by alpha / sqrt(rank) where it is
rank-stabilised, and the best learning rate is expected to be about the same at every rank: by alpha / sqrt(rank)
gradients and activations keep their size as the rank grows (Kalajdzievski 2023); by alpha / rank it is the
step of an optimizer that takes the sign of gradients, as Adam about does in its first steps, that keeps its size, since
all of a rank's terms then add up (Chen, Villar and Hayou 2026). An `alpha` that grows with the rank has neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whichtune.errors import SpecError
from whichtune.spec.digest import canonical
from whichtune.spec.lora import LoraBase
from whichtune.spec.search import Space
from whichtune.study.plan import Planned

BESIDE = {"rank", "grid", "on"}
"""What of an entry may differ between candidates that share a search."""


def share_ranks(candidates: Sequence[Planned], spaces: Mapping[str, Space]) -> dict[str, tuple[str, ...]]:
    """Return the candidate that is searched for each group, with the others that take what it finds.

    A group are the low-rank candidates of one backbone that differ in their rank alone; the middle rank is searched,
    the lower one of two. `spaces` is what a search varies, by candidate: those without one, or whose rank is searched,
    are in no group.
    """
    groups: dict[str, list[Planned]] = {}
    for one in _list_adapters(candidates, spaces):
        groups.setdefault(_key(one, spaces[one.candidate]), []).append(one)
    shared: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        ordered = sorted(group, key=rank_of)
        if rank_of(ordered[0]) < rank_of(ordered[-1]):
            middle = ordered[(len(ordered) - 1) // 2]
            shared[middle.candidate] = tuple(one.candidate for one in ordered if one is not middle)
    return shared


def rank_of(one: Planned) -> int:
    """Return the rank of a low-rank candidate."""
    assert isinstance(one.method, LoraBase)  # noqa: S101 - only those are asked
    return one.method.rank


def require_sharing(
    candidates: Sequence[Planned], spaces: Mapping[str, Space], shared: Mapping[str, Sequence[str]]
) -> None:
    """Refuse a study that asks for one search for all ranks, and has no two candidates that may share one."""
    if not shared:
        raise SpecError(
            "search.share: no candidates differ in their rank alone",
            value="ranks",
            allowed="entries of `lora` or `qlora` on one backbone, searched, equal but for `rank`",
            remedy=_explain(_list_adapters(candidates, spaces)),
        )


def _explain(adapters: Sequence[Planned]) -> str:
    """Say what keeps the nearest pair apart, or how such entries are written."""
    alike: dict[str, Planned] = {}
    for one in adapters:
        first = alike.setdefault(canonical([one.backbone, one.method.model_dump(mode="json", exclude=_LOOSE)]), one)
        if rank_of(first) != rank_of(one) and first.method.alpha != one.method.alpha:  # type: ignore[union-attr]
            told = f"{first.candidate} and {one.candidate} differ in `alpha` too, and an adapter is divided by its rank"
            return f"{told} already; give both one `alpha`, or leave `share` out"
    return "write `grid: {rank: [4, 8, 16]}` with one `alpha`, or leave `share` out"


_LOOSE = BESIDE | {"alpha"}


def _list_adapters(candidates: Sequence[Planned], spaces: Mapping[str, Space]) -> list[Planned]:
    """List the low-rank candidates that are searched, and not for their rank."""
    known = ((one, spaces.get(one.candidate, Space())) for one in candidates)
    return [one for one, space in known if isinstance(one.method, LoraBase) and space and "rank" not in space.fields]


def _key(one: Planned, space: Space) -> str:
    """Write down everything that two candidates must have in common."""
    held = one.method.model_dump(mode="json", exclude=BESIDE)
    return canonical([one.backbone, held, dict(space.ranges), dict(space.choices)])
