"""Put a candidate's model together: a head for the task, and the method onto the backbone."""

from __future__ import annotations

from dataclasses import replace

import torch

from whichtune.engine.assembly import Assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import ClassHead, FusionHead, Head, HeadRequest, TokenHead
from whichtune.layers.masks import StepKey
from whichtune.methods import TUNERS
from whichtune.methods.pairs import attach_pair, why_not_on_pair
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.dequantizing import Allowance
from whichtune.models.pair import ROLES, Pair
from whichtune.spec.engine import PLAIN, EngineSpec
from whichtune.spec.method_base import TunerBase
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import Reads


def build_assembly(
    backbone: Backbone, method: MethodSpec, request: HeadRequest, head_dropout: float, streams: Streams
) -> Assembly:
    """Attach a tuner to a backbone; every new tensor is drawn from the trial's own streams."""
    tuner = TUNERS[type(method)]
    assert isinstance(method, TunerBase)  # noqa: S101 - the table of tuners has no other
    pair = backbone if isinstance(backbone, Pair) else None
    reason = (
        why_not_on_pair(tuner, method, pair, request) if pair else tuner.supports(method, backbone.anatomy, request)
    )
    if reason is not None:
        raise UnsupportedError(reason)
    head = build_head(backbone, method, request, head_dropout)
    head.initialise(streams.derive("initialisation", "head"))
    head.to(backbone.device)
    attached = (head, method, StepKey(streams))
    attachment = attach_pair(tuner, pair, *attached) if pair else tuner.attach(backbone, *attached)
    assembly = Assembly(backbone, head, attachment)
    _require_whole_precision(assembly)
    return assembly


def build_head(backbone: Backbone, method: TunerBase, request: HeadRequest, dropout: float) -> Head:
    """Make the head that a task asks for; one that writes needs a backbone that scores tokens."""
    if request.tokens:
        require_speaking(backbone)
        return TokenHead()
    if isinstance(backbone, Pair):
        image, text = (backbone.parts[role].feature_width(backbone.pooling_of(role, method.pooling)) for role in ROLES)
        return FusionHead((image, text), method.fusion, method.fusion_width, request, dropout)
    return ClassHead(backbone.anatomy.head, backbone.feature_width(method.pooling), request, dropout)


def require_speaking(backbone: Backbone) -> None:
    """Raise where a backbone scores no tokens, so that it can answer nothing in words."""
    if backbone.output is None:
        raise UnsupportedError(
            f"the answer is written in words, and the family '{backbone.anatomy.family}' scores no next token here"
        )


def request_load(method: MethodSpec, attention: str, reads: Reads = "text", engine: EngineSpec = PLAIN) -> LoadRequest:
    """Return how a backbone must be loaded for a method, under the study's attention kernel and for what it reads."""
    tuner = TUNERS.get(type(method))
    needs = LoadRequest() if tuner is None else tuner.needs(method)
    once = needs.quantization is not None and engine.dequantize_once
    return replace(
        needs,
        attention=attention,
        reads=method.reads or reads,
        unpad=engine.unpad,
        narrow=engine.narrow,
        spare=engine.recompute,
        widen=engine.onednn,
        dequantize=Allowance(engine.dequantized_bytes) if once else None,
    )


def _require_whole_precision(assembly: Assembly) -> None:
    """Refuse to train weights that are kept in half precision: small updates would vanish in their rounding."""
    kinds = {tensor.dtype for tensor in assembly.attachment.trained.values()}
    halves = kinds & {torch.float16, torch.bfloat16}
    if halves:
        assembly.attachment.detach()
        kept = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in halves))
        raise UnsupportedError(
            f"it would train weights kept in {kept}; load the backbone in float32 and set `training.precision` instead"
        )
