"""Put a candidate's model together: a head for the task, and the method onto the backbone."""

from __future__ import annotations

from whichtune.engine.assembly import Assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.methods import TUNERS
from whichtune.models.backbone import Backbone
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
    return Assembly(backbone, head, tuner.attach(backbone, head, method, StepKey(streams)))
