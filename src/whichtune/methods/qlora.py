"""QLoRA: low-rank adapters over projections stored in four bits (Dettmers et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from whichtune.errors import UnsupportedError
from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.lora import LoraBank
from whichtune.layers.masks import StepKey
from whichtune.methods.contracts import Attachment
from whichtune.methods.lora import Lora, put_module
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.quantizing import (
    FourBitLinear,
    Quantization,
    find_projections,
    why_no_product,
    why_not_quantized,
)
from whichtune.spec.lora import QloraSpec

NOT_MERGED = "merged into four bits the adapters are lost to rounding, into dequantized weights the memory saved is"


class Qlora:
    """LoRA over a trunk that was loaded in four bits; evaluated unmerged."""

    def supports(self, spec: QloraSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Whether the trunk can be quantized is told when attaching, where its modules are seen."""
        return Lora().supports(spec, anatomy, request)

    def needs(self, spec: QloraSpec) -> LoadRequest:
        """Projections in NF4."""
        return LoadRequest(quantization=Quantization(double=spec.double_quantization, compute=spec.compute))

    def attach(self, backbone: Backbone, head: Head, spec: QloraSpec, key: StepKey) -> Attachment:
        """Put the adapters on, or raise `UnsupportedError` with what keeps the trunk from being in four bits.

        A trunk without values (`count`) is taken as it is: its logical sizes are those of the packed one.
        """
        reason = None if backbone.device.type == "meta" else why_not_in_four_bits(backbone)
        if reason is not None:
            raise UnsupportedError(reason)
        return replace(Lora().attach(backbone, head, spec, key), merge=None, unmerge=None, merge_reason=NOT_MERGED)


def why_not_in_four_bits(backbone: Backbone) -> str | None:
    """Return why a loaded trunk is not in four bits, or cannot be multiplied where it is; None where all is well."""
    reason = why_not_quantized(backbone.trunk, backbone.anatomy)
    if reason is not None:
        return reason
    packed = [module for _, module in find_projections(backbone.trunk, backbone.anatomy)]
    first = packed[0]
    if not all(isinstance(module, FourBitLinear) for module in packed) or not isinstance(first, FourBitLinear):
        return "the backbone was loaded without quantization; load it as the method needs it"
    return why_no_product(first)


def merge_dequantized(backbone: Backbone) -> Callable[[], None]:
    """Turn an adapted four-bit trunk into a plain one with the adapters merged in; return what puts it all back.

    Every projection is dequantized, adapted or not, so that what is exported needs no `bitsandbytes`.
    """
    banks = {path: one for path, one in backbone.trunk.named_modules() if isinstance(one, LoraBank)}
    within = tuple(f"{path}." for path in banks)
    others = {
        path: one
        for path, one in backbone.trunk.named_modules()
        if isinstance(one, FourBitLinear) and not path.startswith(within)
    }
    for path, bank in banks.items():
        bank.merge()
        put_module(backbone.trunk, path, bank.base)
    for path, packed in others.items():
        put_module(backbone.trunk, path, packed.dequantize())

    def restore() -> None:
        for bank in banks.values():
            bank.unmerge()
        own: dict[str, nn.Module] = {**banks, **others}
        for path, module in own.items():
            put_module(backbone.trunk, path, module)

    return restore
