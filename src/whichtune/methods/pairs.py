"""A tuner on a pair of encoders: put onto each as onto any other backbone, and handled as one from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from torch import Tensor

from whichtune.layers.heads import Head, HeadRequest, NoHead
from whichtune.layers.masks import StepKey
from whichtune.methods.contracts import Attachment, Theory, Tuner
from whichtune.models.pair import ROLES, Pair, Role
from whichtune.spec.method_base import TunerBase
from whichtune.spec.seeds import Purpose, Streams

T = TypeVar("T", bound=Tensor)
PARTED = ("trunk", "added")
"""Places of tensors that each encoder has for itself."""


class PartStreams(Streams):
    """The streams of one half of a pair: both draw from the same seed, and nothing alike."""

    def __init__(self, whole: Streams, role: Role) -> None:
        super().__init__(whole.seed, whole.stream)
        object.__setattr__(self, "role", role)

    def derive(self, purpose: Purpose, *place: int | str) -> int:
        """Return the seed of one stream of this half."""
        return super().derive(purpose, str(vars(self)["role"]), *place)


class PartKey(StepKey):
    """Where a run stands, for one half of a pair: it moves with the whole."""

    def __init__(self, whole: StepKey, role: Role) -> None:
        super().__init__(PartStreams(whole.streams, role))
        self._whole = whole

    @property
    def micro_step(self) -> int:
        """Forward passes of the whole so far; masks are kept by it, so it must never lag behind."""
        return self._whole.micro_step


def why_not_on_pair(tuner: Tuner, spec: TunerBase, pair: Pair, request: HeadRequest) -> str | None:
    """Return why a method makes no sense on one of the two encoders, or None where it does on both."""
    for role in ROLES:
        reason = tuner.supports(spec, pair.parts[role].anatomy, request)
        if reason is not None:
            return f"{role}: {reason}"
    return None


def attach_pair(tuner: Tuner, pair: Pair, head: Head, spec: TunerBase, key: StepKey) -> Attachment:
    """Put a method onto both encoders, with one head over both."""
    parts: dict[Role, Attachment] = {}
    for role in ROLES:
        own = spec.model_copy(update={"pooling": pair.pooling_of(role, spec.pooling)})
        parts[role] = tuner.attach(pair.parts[role], NoHead(), own, PartKey(key, role))
    for tensor in head.parameters():
        tensor.requires_grad_(True)
    own_head = {f"head.{name}": tensor for name, tensor in head.named_parameters()}
    merges = [part.merge for part in parts.values() if part.merge is not None]
    unmerges = [part.unmerge for part in parts.values() if part.unmerge is not None]
    whole = len(merges) == len(ROLES)
    return Attachment(
        trained={**_gather(parts, lambda part: part.trained), **own_head},
        inert=_gather(parts, lambda part: part.inert),
        saved={**_gather(parts, lambda part: part.saved), **own_head},
        active=(*(module for part in parts.values() for module in part.active), head),
        theory=_add_theory(parts.values(), head),
        detach=_all(part.detach for part in parts.values()),
        pooling=spec.pooling,
        rows_in_front=parts["text"].rows_in_front,
        merge=_all(merges) if whole else None,
        unmerge=_all(unmerges) if whole else None,
        merge_reason=next((part.merge_reason for part in parts.values() if part.merge is None), ""),
        plan=_all_of(part.plan for part in parts.values()),
        penalty=_sum_of(part.penalty for part in parts.values()),
        after_step=_all_of(part.after_step for part in parts.values()),
        key=key,
        matched=tuple(f"{role}.{path}" for role, part in parts.items() for path in part.matched),
        added=sum(part.added for part in parts.values()),
        notes=tuple(f"{role}: {note}" for role, part in parts.items() for note in part.notes),
        parts={str(role): part for role, part in parts.items()},
    )


def _gather(parts: Mapping[Role, Attachment], take: Callable[[Attachment], Mapping[str, T]]) -> dict[str, T]:
    """Put the tensors of both under names that hold the role: `trunk.image.encoder...`."""
    found: dict[str, T] = {}
    for role, part in parts.items():
        for name, tensor in take(part).items():
            place, _, rest = name.partition(".")
            found[f"{place}.{role}.{rest}" if place in PARTED else name] = tensor
    return found


def _add_theory(parts: Iterable[Attachment], head: Head) -> Theory:
    counts = [part.theory for part in parts]
    unknown = next((one for one in counts if one.trainable is None), None)
    return unknown or Theory(sum(one.trainable or 0 for one in counts) + head.size)


def _all(acts: Iterable[Callable[[], None]]) -> Callable[[], None]:
    listed = list(acts)

    def act() -> None:
        for one in listed:
            one()

    return act


def _all_of(acts: Iterable[Callable[[int], None] | None]) -> Callable[[int], None] | None:
    listed = [one for one in acts if one is not None]

    def act(steps: int) -> None:
        for one in listed:
            one(steps)

    return act if listed else None


def _sum_of(penalties: Iterable[Callable[[], Tensor] | None]) -> Callable[[], Tensor] | None:
    listed = [one for one in penalties if one is not None]

    def add() -> Tensor:
        total = listed[0]()
        for one in listed[1:]:
            total = total + one()
        return total

    return add if listed else None
