"""Several LoRA trials on one backbone at once: each has a slot of its own in every bank, and comes off alone.

Which slots stand in the banks is the rack's to say: one, and everything is as if its trial were alone, merging
included; several, each over its own rows of a pass that they share; none in between, so that whoever forgets to ask
for a seat fails at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from torch import Tensor, nn

from whichtune.errors import UnsupportedError
from whichtune.layers.heads import Head
from whichtune.layers.laid_masks import LaidMasks, Lay, Seat
from whichtune.layers.lora import LoraAdapter, LoraBank
from whichtune.layers.masks import StepKey
from whichtune.layers.side_by_side import Lineup, add_many, line_up, reduce_many
from whichtune.methods.contracts import Attachment, Openings, Theory
from whichtune.methods.freezing import open_only
from whichtune.methods.lora import adapter_name, build_adapters, count_lora, note_wide_ranks, put_module, wrap
from whichtune.methods.qlora import NOT_MERGED, why_not_in_four_bits
from whichtune.methods.targets import Target, resolve_targets
from whichtune.models.backbone import Backbone
from whichtune.models.count import count_parameters
from whichtune.models.standing_in import standing_in
from whichtune.spec.lora import LoraBase, QloraSpec


class Shared(Protocol):
    """A pass that several runs share, as banks see it. B sequences, W rows each, T of them real."""

    @property
    def extent(self) -> tuple[int, int]:
        """B and W."""
        ...

    @property
    def tokens(self) -> int:
        """T: the rows of a pass that leaves padding out."""
        ...

    def routes(self, *, packed: bool) -> Sequence[slice]:
        """Where the sequences of each run stand, or, packed, its real rows."""
        ...

    def lays(self, *, packed: bool) -> Sequence[Lay]:
        """How the rows of each run stand."""
        ...


@dataclass(frozen=True)
class Wanted:
    """One trial that wants a slot."""

    head: Head
    spec: LoraBase
    key: StepKey


@dataclass(eq=False)
class Slot:
    """The adapters of one trial."""

    parts: Mapping[str, nn.Module]
    """Path of a bank to what stands in it."""
    seat: Seat


@dataclass
class Rack:
    """The banks on a backbone, and who sits in them."""

    backbone: Backbone
    banks: Mapping[str, LoraBank]
    restore: Callable[[], None]
    slots: list[Slot] = field(default_factory=list)
    seated: tuple[Slot, ...] = ()
    batched: bool = False
    """Whether shared passes multiply all adapters of a projection at once: what a GPU is quicker with."""

    def seat(self, slots: Sequence[Slot]) -> None:
        """Let these slots, in that order, stand in every bank."""
        if tuple(slots) == self.seated:
            return
        for path, bank in self.banks.items():
            bank.slots = nn.ModuleList([slot.parts[path] for slot in slots])
        self.seated = tuple(slots)

    @contextmanager
    def seating(self, *slots: Slot) -> Generator[None]:
        """Seat these slots inside, and those that sat before afterwards."""
        before = self.seated
        self.seat(slots)
        try:
            yield
        finally:
            self.seat(before)

    @contextmanager
    def sharing(self, slots: Sequence[Slot], shared: Shared) -> Generator[None]:
        """Seat these slots inside, each over its own rows of a forward pass that they share."""
        router = Router(shared, slots, self.batched)
        with ExitStack() as stack:
            stack.enter_context(self.seating(*slots))
            stack.callback(router.close, self.banks.values())
            for bank in self.banks.values():
                stack.enter_context(standing_in(bank, partial(router.pass_bank, bank)))
            yield

    def leave(self, slot: Slot) -> None:
        """Take one trial's adapters off; with the last of them the backbone is as it was."""
        if slot not in self.slots:
            return
        for bank in self.banks.values():
            if bank.merged:
                bank.unmerge()
        self.slots.remove(slot)
        self.seat(())
        if self.slots:
            return
        for path, bank in self.banks.items():
            put_module(self.backbone.trunk, path, bank.base)
        self.restore()


@dataclass
class Router:
    """Shows every bank the rows of a shared pass with those of each run side by side."""

    shared: Shared
    slots: Sequence[Slot]
    batched: bool
    """Whether the adapters of all runs are multiplied in one product, and not one after another."""
    _seen: tuple[Tensor, Tensor] | None = None
    _low: dict[int, Sequence[Tensor]] = field(default_factory=dict)
    _lineups: dict[bool, Lineup] = field(default_factory=dict)

    def pass_bank(self, bank: LoraBank, rows: Tensor) -> Tensor:
        """Stand in for a bank's forward: rows in any of the shapes a trunk gives them, and back."""
        packed = self._is_packed(rows)
        for slot, lay in zip(self.slots, self.shared.lays(packed=packed), strict=True):
            slot.seat.lay = lay
        lined = self._line_up(rows, packed=packed)
        if self.batched:
            found = self._add_at_once(bank, lined, packed=packed)
        else:
            bank.routes = self.shared.routes(packed=packed)
            found = LoraBank.forward(bank, lined)
        return found.view(*rows.shape[:-1], found.shape[-1])

    def close(self, banks: Iterable[LoraBank]) -> None:
        """Leave no routes behind."""
        for bank in banks:
            bank.routes = None
        for slot in self.slots:
            slot.seat.lay = None
        self._seen = None
        self._low.clear()

    def _add_at_once(self, bank: LoraBank, rows: Tensor, *, packed: bool) -> Tensor:
        """Project rows [N, E] and add what all adapters make of their own; readers of an input share a product."""
        projected = bank.base(rows)
        if packed not in self._lineups:
            width = 1 if packed else self.shared.extent[1]
            counts = [(route.stop - route.start) * width for route in self.shared.routes(packed=packed)]
            self._lineups[packed] = line_up(counts, rows.device)
        lineup = self._lineups[packed]
        for adapters in zip(*(cast(Iterable[LoraAdapter], own) for own in bank.slots), strict=True):
            readers = [cast(list[LoraAdapter], one.reads.readers) for one in adapters]
            if id(adapters[0].reads) not in self._low:
                self._low[id(adapters[0].reads)] = reduce_many(rows, readers, lineup)
            low = self._low[id(adapters[0].reads)][readers[0].index(adapters[0])]
            projected = add_many(projected, low, adapters, lineup)
        return projected

    def _is_packed(self, rows: Tensor) -> bool:
        batch, width = self.shared.extent
        front = tuple(rows.shape[:-1])
        if front in ((batch, width), (batch * width,)):
            return False
        if front in ((1, self.shared.tokens), (self.shared.tokens,)):
            return True
        raise UnsupportedError(
            f"an adapted projection reads {front} rows that belong to no text: trials cannot share a pass"
        )

    def _line_up(self, rows: Tensor, *, packed: bool) -> Tensor:
        """Return [B, W, E], or [N, E] packed and batched; the same tensor again for the same rows."""
        if self._seen is None or self._seen[0] is not rows:
            flat = packed or self.batched
            lined = rows.reshape(-1, rows.shape[-1]) if flat else rows.reshape(*self.shared.extent, rows.shape[-1])
            self._seen = (rows, rows if lined.shape == rows.shape else lined)
            self._low.clear()
        return self._seen[1]


def attach_many(backbone: Backbone, wanted: Sequence[Wanted]) -> tuple[Rack, list[tuple[Slot, Attachment]]]:
    """Put several trials of LoRA, or of QLoRA, onto one backbone; all adapt the same targets, biases stay frozen."""
    first = wanted[0].spec
    if any(one.spec.targets != first.targets or one.spec.bias != "none" for one in wanted):
        raise UnsupportedError("trials that share a pass adapt the same targets and train no biases")
    if isinstance(first, QloraSpec) and (reason := why_not_in_four_bits(backbone)) is not None:
        raise UnsupportedError(reason)
    targets = resolve_targets(backbone, first.targets)
    seats = [Seat() for _ in wanted]
    # Before anything is wrapped: sizes, devices and flags are those of the plain trunk.
    members = [_prepare(backbone, one, targets, seat) for one, seat in zip(wanted, seats, strict=True)]
    restores = [open_only(backbone, one.head, member.openings) for one, member in zip(wanted, members, strict=True)]
    banks = wrap(backbone, targets, members[0].adapters)
    for member in members[1:]:
        for path, bank in banks.items():
            bank.add_slot([member.adapters[adapter_name(target)] for target in targets if target.path == path])
    slots = [Slot({path: bank.slots[place] for path, bank in banks.items()}, seat) for place, seat in enumerate(seats)]
    # The first of them saw the trunk as it was.
    rack = Rack(backbone, banks, restores[0], slots, tuple(slots), backbone.device.type == "cuda")
    rack.seat(())
    given = zip(slots, wanted, members, strict=True)
    return rack, [(slot, _describe(rack, slot, one, member)) for slot, one, member in given]


@dataclass(frozen=True)
class _Member:
    """What one trial brings, before anything is wrapped."""

    adapters: dict[str, LoraAdapter]
    openings: Openings
    theory: Theory


def _prepare(backbone: Backbone, wanted: Wanted, targets: list[Target], seat: Seat) -> _Member:
    """Make one trial's adapters, whose masks are the same alone and among others."""
    adapters = build_adapters(backbone, wanted.spec, targets, wanted.key)
    for shared in {id(adapter.reads): adapter.reads for adapter in adapters.values()}.values():
        shared.source = LaidMasks(shared.source, seat)
    openings = Openings()
    for name, adapter in adapters.items():
        openings.open("added", {f"{name}.down": adapter.down, f"{name}.up": adapter.up})
    openings.open("head", dict(wanted.head.named_parameters()))
    return _Member(adapters, openings, count_lora(backbone, wanted.head, wanted.spec, targets))


def _describe(rack: Rack, slot: Slot, wanted: Wanted, member: _Member) -> Attachment:
    """Say what one slot is, as of a trial alone; merging and all else is for when it is seated alone."""
    spec, adapters, quantized = wanted.spec, member.adapters.values(), isinstance(wanted.spec, QloraSpec)
    return Attachment(
        trained=member.openings.trained,
        inert=member.openings.inert,
        saved=dict(member.openings.trained),
        active=(*adapters, wanted.head),
        theory=member.theory,
        detach=partial(rack.leave, slot),
        pooling=spec.pooling,
        rowwise=True,
        merge=None if quantized else partial(_each, rack, LoraBank.merge),
        unmerge=None if quantized else partial(_each, rack, LoraBank.unmerge),
        merge_reason=NOT_MERGED if quantized else "",
        key=wanted.key,
        matched=tuple(rack.banks),
        added=sum(count_parameters(adapter) for adapter in adapters),
        notes=tuple(note_wide_ranks(spec, adapters)),
    )


def _each(rack: Rack, act: Callable[[LoraBank], None]) -> None:
    for bank in rack.banks.values():
        act(bank)
