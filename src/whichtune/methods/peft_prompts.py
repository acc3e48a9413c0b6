"""PEFT's prompt encoders: their rows go in front of the text, or into every block as keys and values.

PEFT runs them inside a wrapper around a whole classifier, which pools the first virtual row and, for keys and values,
asks the trunk to make a mask that encoders do not make. Here the encoders stand alone and the layout says what is
where.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.errors import UnsupportedError
from whichtune.layers.heads import Head
from whichtune.layers.masks import StepKey
from whichtune.layers.virtual import put_in_front
from whichtune.methods.contracts import Attachment, Inputs, Openings, Theory
from whichtune.methods.freezing import open_only
from whichtune.methods.peft_config import find_classes, make_config, seed_of, telling
from whichtune.methods.peft_table import KNOWN
from whichtune.models.backbone import Backbone
from whichtune.models.count import count_parameters
from whichtune.models.layout import Layout
from whichtune.spec.peft import PeftSpec


class Cached:
    """Keys and values in front of each block's own: what an attention of `transformers` takes for a cache.

    It never grows, so a block that is computed again in the backward pass sees the same rows.
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        """[2 * blocks, heads, count, width of a head] of the running pass."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """No row of the text has been seen before."""
        return 0

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put a block's rows in front of its keys and values, [B, heads, W, width] each."""
        assert self.rows is not None  # noqa: S101 - `inputs` runs before the trunk
        own = self.rows[2 * layer_idx : 2 * layer_idx + 2].to(keys.dtype)
        front = own[:, None].expand(2, len(keys), *own.shape[1:])
        return torch.cat([front[0], keys], dim=2), torch.cat([front[1], values], dim=2)

    def enter(self, _: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Before the trunk runs: hand it these rows, and a mask that lets every row of the text see them."""
        assert self.rows is not None  # noqa: S101
        embedded: Tensor = given["inputs_embeds"]
        real: Tensor = given["attention_mask"].bool()
        seen = nn.functional.pad(real, (self.rows.shape[2], 0), value=True)
        mask = torch.zeros(len(real), 1, 1, seen.shape[1], dtype=embedded.dtype, device=embedded.device)
        mask = mask.masked_fill(~seen[:, None, None], torch.finfo(embedded.dtype).min)
        mask = mask.expand(-1, -1, real.shape[1], -1)
        return args, {**given, "attention_mask": mask, "past_key_values": self}


def attach_rows(backbone: Backbone, head: Head, spec: PeftSpec, key: StepKey) -> Attachment:
    """Put the rows of a prompt encoder in front of every text."""
    encoder, config = build_encoder(backbone, spec, key)
    count = int(config.num_virtual_tokens)
    attachment = _attach((backbone, head), encoder, spec, key, partial(_put_in_front, encoder, count, spec.read))
    attachment.rows_in_front = count
    return attachment


def attach_keys(backbone: Backbone, head: Head, spec: PeftSpec, key: StepKey) -> Attachment:
    """Give every block the keys and values of a prompt encoder."""
    if "past_key_values" not in inspect.signature(backbone.trunk.forward).parameters:
        family = backbone.anatomy.family
        raise UnsupportedError(f"{spec.tuner}: {family} trunks take no `past_key_values`; try `p-tuning` with `deep`")
    encoder, config = build_encoder(backbone, spec, key)
    cached = Cached()
    sizes = (2 * config.num_layers, config.num_attention_heads)
    inputs = partial(_put_into_blocks, encoder, int(config.num_virtual_tokens), sizes, cached)
    handle = backbone.trunk.register_forward_pre_hook(cached.enter, with_kwargs=True)
    attachment = _attach((backbone, head), encoder, spec, key, inputs)
    restore = attachment.detach

    def detach() -> None:
        handle.remove()
        restore()

    attachment.detach = detach
    return attachment


def build_encoder(backbone: Backbone, spec: PeftSpec, key: StepKey) -> tuple[nn.Module, Any]:
    """Make PEFT's encoder on a backbone; return its configuration too."""
    config = make_config(backbone, spec, seed_of(key, spec))
    _, encoder_class = find_classes(spec.tuner)
    tokens = (backbone.module(backbone.anatomy.tokens),) if spec.tuner == "prompt_tuning" else ()
    with telling(spec):
        return encoder_class(config, *tokens).to(backbone.device), config


def _attach(
    built: tuple[Backbone, Head], encoder: nn.Module, spec: PeftSpec, key: StepKey, inputs: Inputs
) -> Attachment:
    backbone, head = built
    openings = Openings()
    parameters = dict(encoder.named_parameters())
    openings.open("added", {name: one for name, one in parameters.items() if one.requires_grad})
    openings.open("head", dict(head.named_parameters()))
    fixed = {f"added.{name}": one for name, one in parameters.items() if not one.requires_grad}
    return Attachment(
        trained=openings.trained,
        inert=openings.inert,
        saved={**openings.trained, **fixed},
        active=(encoder, head),
        theory=Theory(None, f"no counting formula for PEFT's {spec.tuner}; whichtune's own soft prompts have one"),
        detach=open_only(backbone, head, openings),
        pooling=spec.pooling,
        inputs=inputs,
        merge_reason=KNOWN[spec.tuner].no_merge,
        key=key,
        added=count_parameters(encoder),
    )


def _put_in_front(encoder: nn.Module, count: int, read: str, embedded: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    rows = encoder(torch.arange(count, device=embedded.device)[None])[0]
    return put_in_front(rows, embedded, layout, read=read == "virtual")


def _put_into_blocks(
    encoder: nn.Module, count: int, sizes: tuple[int, int], cached: Cached, embedded: Tensor, layout: Layout
) -> tuple[Tensor, Layout]:
    rows = encoder(torch.arange(count, device=embedded.device)[None])[0]
    cached.rows = rows.view(count, *sizes, -1).permute(1, 2, 0, 3)
    return embedded, layout
