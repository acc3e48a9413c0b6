"""Assemblies of several trials on one backbone: each, on its own, behaves as if it were alone there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from whichtune.engine.assembly import Assembly, run_attached
from whichtune.engine.build import build_head
from whichtune.engine.joining import Joint, join
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import HeadRequest
from whichtune.layers.laid_masks import RetracingKey
from whichtune.methods import TUNERS
from whichtune.methods.contracts import unchanged
from whichtune.methods.lora_slots import Rack, Slot, Wanted, attach_many
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Batched
from whichtune.models.pair import Role
from whichtune.spec.lora import LoraBase
from whichtune.spec.seeds import Streams


@dataclass(frozen=True)
class Candidate:
    """What one trial is built from."""

    method: LoraBase
    head_dropout: float
    streams: Streams


@dataclass(kw_only=True)
class SlotAssembly(Assembly):
    """One trial's model among others: whatever is done with it alone, its adapters are the only ones in the trunk."""

    rack: Rack
    slot: Slot

    def __call__(self, batch: Batched) -> Tensor:
        """Return the outputs of a batch of this trial alone."""
        with self.rack.seating(self.slot):
            return super().__call__(batch)

    def pool(self, batch: Batched, role: Role | None = None) -> Tensor:
        """Return what this trial's head reads of a batch."""
        with self.rack.seating(self.slot):
            return super().pool(batch, role)

    @contextmanager
    def fitting(self) -> Generator[None]:
        """Seat this trial alone, in train mode."""
        with self.rack.seating(self.slot), super().fitting():
            yield

    @contextmanager
    def predicting(self, *, merge: bool = True) -> Generator[bool]:
        """Seat this trial alone, in eval mode; it is merged as any lone one is."""
        with self.rack.seating(self.slot), super().predicting(merge=merge) as merged:
            yield merged


def join_batches(assemblies: Sequence[SlotAssembly], batches: Sequence[Batch]) -> Joint:
    """Put the batches of several trials into one, each laid out as a pass of its own trial alone would see it."""
    alone = [assembly.packs(batch) for assembly, batch in zip(assemblies, batches, strict=True)]
    return join(batches, assemblies[0].device, alone)


def run_together(assemblies: Sequence[SlotAssembly], joint: Joint) -> list[Tensor]:
    """Return the hidden rows of each trial's own batch, [B, W, H], of one pass over the batches of all."""
    first = assemblies[0]
    with first.rack.sharing([one.slot for one in assemblies], joint):
        hidden, _ = run_attached(first.backbone, unchanged, joint.batch, rowwise=True)
    return joint.split(hidden)


def build_packed(backbone: Backbone, candidates: Sequence[Candidate], request: HeadRequest) -> list[SlotAssembly]:
    """Attach several trials of LoRA to one backbone, each with the tensors it would be given alone.

    Each comes off by its own `attachment.detach`; the backbone is as it was when all of them have.
    """
    for one in candidates:
        reason = TUNERS[type(one.method)].supports(one.method, backbone.anatomy, request)
        if reason is not None:
            raise UnsupportedError(reason)
    wanted: list[Wanted] = []
    for one in candidates:
        head = build_head(backbone, one.method, request, one.head_dropout)
        head.initialise(one.streams.derive("initialisation", "head"))
        wanted.append(Wanted(head.to(backbone.device), one.method, RetracingKey(one.streams)))
    rack, given = attach_many(backbone, wanted)
    pairs = zip(wanted, given, strict=True)
    return [SlotAssembly(backbone, one.head, attached, rack=rack, slot=slot) for one, (slot, attached) in pairs]
