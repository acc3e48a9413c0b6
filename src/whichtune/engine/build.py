"""Put a candidate's model together: a head for the task, and the method onto the backbone."""

from __future__ import annotations

from dataclasses import replace

import torch

from whichtune.engine.assembly import Assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.methods import TUNERS
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams


def build_assembly(
    backbone: Backbone, method: MethodSpec, outputs: int, head_dropout: float, streams: Streams
) -> Assembly:
    """Attach a tuner to a backbone; every new tensor is drawn from the trial's own streams."""
    tuner = TUNERS[type(method)]
    request = HeadRequest(outputs)
    reason = tuner.supports(method, backbone.anatomy, request)
    if reason is not None:
        raise UnsupportedError(reason)
    head = Head(backbone.anatomy.head, backbone.hidden, request, head_dropout)
    head.initialise(streams.derive("initialisation", "head"))
    head.to(backbone.device)
    assembly = Assembly(backbone, head, tuner.attach(backbone, head, method, StepKey(streams)))
    _require_whole_precision(assembly)
    return assembly


def request_load(method: MethodSpec, attention: str) -> LoadRequest:
    """Return how a backbone must be loaded for a method, under the study's attention kernel."""
    return replace(TUNERS[type(method)].needs(method), attention=attention)


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
