"""LoRA: low-rank adapters beside frozen projections, and the head (Hu et al. 2021, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import nn

from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.lora import LoraAdapter, LoraBank, LoraShape
from whichtune.layers.low_rank import SharedInput
from whichtune.layers.masks import MaskSource, StepKey
from whichtune.methods.contracts import Attachment, Openings, Theory
from whichtune.methods.freezing import open_only, trunk_parameters
from whichtune.methods.targets import Target, find_lacking, resolve_targets, weight_of, widths
from whichtune.methods.whole_parts import no_formula, size_of, still
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.count import count_parameters, logical_shape
from whichtune.spec.lora import LoraBase


class Lora:
    """Adapters on the targets; everything else of the trunk stays frozen, but for the biases that are asked for."""

    def supports(self, spec: LoraBase, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Any trunk with the projections that are asked for will do; a name of no module is told when attaching."""
        return find_lacking(anatomy, spec.targets)

    def needs(self, spec: LoraBase) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: LoraBase, key: StepKey) -> Attachment:
        """Wrap the targets into banks of one slot."""
        targets = resolve_targets(backbone, spec.targets)
        openings = Openings()
        biases = opened_biases(backbone, spec, targets)
        openings.open("trunk", biases, still(backbone, spec.pooling))
        adapters = build_adapters(backbone, spec, targets, key)
        for name, adapter in adapters.items():
            openings.open("added", {f"{name}.down": adapter.down, f"{name}.up": adapter.up})
        openings.open("head", dict(head.named_parameters()))
        restore = open_only(backbone, head, openings)
        banks = wrap(backbone, targets, adapters)
        return Attachment(
            trained=openings.trained,
            inert=openings.inert,
            saved=dict(openings.trained),
            active=(*adapters.values(), head),
            theory=count_lora(backbone, head, spec, targets),
            detach=lambda: _detach(backbone, banks, restore),
            pooling=spec.pooling,
            rowwise=True,
            merge=partial(_each, banks, LoraBank.merge),
            unmerge=partial(_each, banks, LoraBank.unmerge),
            key=key,
            matched=tuple(dict.fromkeys(target.path for target in targets)),
            added=sum(count_parameters(adapter) for adapter in adapters.values()),
            notes=tuple(note_wide_ranks(spec, adapters.values())),
        )


def build_adapters(backbone: Backbone, spec: LoraBase, targets: list[Target], key: StepKey) -> dict[str, LoraAdapter]:
    """Make one initialised adapter a target; those that read the same input share its dropout mask and a product."""
    shape = LoraShape(spec.rank, spec.alpha, spec.rslora)
    inputs = {target.reads: SharedInput(MaskSource(key, target.reads, spec.dropout)) for target in targets}
    adapters: dict[str, LoraAdapter] = {}
    for target in targets:
        weight = weight_of(backbone, target)
        adapter = LoraAdapter(shape, widths(logical_shape(weight), target), inputs[target.reads], target.out)
        adapter.initialise(key.streams.derive("initialisation", "lora", adapter_name(target)))
        adapters[adapter_name(target)] = adapter.to(weight.device)
    return adapters


def note_wide_ranks(spec: LoraBase, adapters: Iterable[LoraAdapter]) -> Iterator[str]:
    """Say how many adapters have a rank that their projection is too narrow for; they run as asked."""
    narrow = [least for adapter in adapters if (least := min(adapter.down.shape[1], len(adapter.up))) < spec.rank]
    if narrow:
        yield (
            f"rank {spec.rank} is above the width of {len(narrow)} adapted projections (the narrowest: {min(narrow)}): "
            "their change has that width as its rank at most, and the rest costs without adding"
        )


def adapter_name(target: Target) -> str:
    """Name an adapter by its module, and by its word too where several share a fused module."""
    return target.path if target.out is None else f"{target.path}.{target.word}"


def wrap(backbone: Backbone, targets: list[Target], adapters: dict[str, LoraAdapter]) -> dict[str, LoraBank]:
    """Put a bank in the place of every targeted module."""
    banks: dict[str, LoraBank] = {}
    for path in dict.fromkeys(target.path for target in targets):
        own = [target for target in targets if target.path == path]
        bank = LoraBank(backbone.module(path), transposed=own[0].transposed)
        bank.add_slot([adapters[adapter_name(target)] for target in own])
        put_module(backbone.trunk, path, bank)
        banks[path] = bank
    return banks


def put_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path below `root`."""
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)


def opened_biases(backbone: Backbone, spec: LoraBase, targets: list[Target]) -> dict[str, nn.Parameter]:
    """Return the trunk's biases that train: none, all, or those of the adapted modules."""
    everything = trunk_parameters(backbone)
    if spec.bias == "all":
        return {name: tensor for name, tensor in everything.items() if name.endswith("bias")}
    if spec.bias == "lora-only":
        own = {f"{target.path}.bias" for target in targets}
        return {name: tensor for name, tensor in everything.items() if name in own}
    return {}


def count_lora(backbone: Backbone, head: Head, spec: LoraBase, targets: list[Target]) -> Theory:
    """Count rank * (in + out) a target, the biases asked for and the head, from the configuration's sizes."""
    sizes = backbone.dimensions
    if sizes is None:
        return Theory(None, no_formula(backbone))
    each = [{str(word): extent for word, extent in sizes.extents(index).items()} for index in range(sizes.blocks)]
    known = {str(word) for word in sizes.projections}
    unknown = [target.path for target in targets if target.block is None or target.word not in known]
    if unknown:
        return Theory(None, f"{unknown[0]} is no projection the anatomy names")
    adapted = [each[target.block or 0][target.word] for target in targets]
    low_rank = sum(spec.rank * (part.inputs + part.outputs) for part in adapted)
    own = sum(part.outputs for part in adapted if part.bias) if spec.bias == "lora-only" else 0
    biases = sizes.trunk.biases if spec.bias == "all" else own
    return Theory(low_rank + biases + size_of(head))


def _each(banks: dict[str, LoraBank], act: Callable[[LoraBank], None]) -> None:
    for bank in banks.values():
        act(bank)


def _detach(backbone: Backbone, banks: dict[str, LoraBank], restore: Callable[[], None]) -> None:
    for path, bank in banks.items():
        if bank.merged:
            bank.unmerge()
        put_module(backbone.trunk, path, bank.base)
    restore()
