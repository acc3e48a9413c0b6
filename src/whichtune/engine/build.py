"""Put a candidate's model together: a head for the task, and the method onto the backbone."""

from __future__ import annotations

from dataclasses import replace

import torch

from whichtune.engine.assembly import Assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import ClassHead, Head, HeadRequest, TokenHead
from whichtune.layers.masks import StepKey
from whichtune.methods import TUNERS
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams


def build_assembly(
    backbone: Backbone, method: MethodSpec, request: HeadRequest, head_dropout: float, streams: Streams
) -> Assembly:
    """Attach a tuner to a backbone; every new tensor is drawn from the trial's own streams."""
    tuner = TUNERS[type(method)]
    reason = tuner.supports(method, backbone.anatomy, request)
    if reason is not None:
        raise UnsupportedError(reason)
    head = build_head(backbone, request, head_dropout)
    head.initialise(streams.derive("initialisation", "head"))
    head.to(backbone.device)
    assembly = Assembly(backbone, head, tuner.attach(backbone, head, method, StepKey(streams)))
    _require_whole_precision(assembly)
    return assembly


def build_head(backbone: Backbone, request: HeadRequest, dropout: float) -> Head:
    """Make the head that a task asks for; one that writes needs a backbone that scores tokens."""
    if request.tokens:
        require_speaking(backbone)
        return TokenHead()
    return ClassHead(backbone.anatomy.head, backbone.hidden, request, dropout)


def require_speaking(backbone: Backbone) -> None:
    """Raise where a backbone scores no tokens, so that it can answer nothing in words."""
    if backbone.output is None:
        raise UnsupportedError(
            f"the answer is written in words, and the family '{backbone.anatomy.family}' scores no next token here"
        )


def request_load(method: MethodSpec, attention: str) -> LoadRequest:
    """Return how a backbone must be loaded for a method, under the study's attention kernel."""
    tuner = TUNERS.get(type(method))
    return replace(LoadRequest() if tuner is None else tuner.needs(method), attention=attention)


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
