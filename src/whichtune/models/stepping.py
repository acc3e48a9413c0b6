"""One token further: what a step of writing gives, what comes of many, and how a token runs behind a state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.causal import State, require_output, run_behind
from whichtune.models.layout import layout_of
from whichtune.models.sampling import Sampling


@dataclass(frozen=True)
class Step:
    """One new token for each sequence that is not done."""

    tokens: Tensor
    """[B] int64; without meaning where `live` is False."""
    live: Tensor
    """[B] bool: sequences that got a token, an end token among them."""


@dataclass(frozen=True)
class Completion:
    """What was written behind one text."""

    tokens: tuple[int, ...]
    """Without the token that ended it."""
    ended: bool
    """Whether it came to an end by itself, and not by the limit or a stop rule."""


def embed_tokens(backbone: Backbone, ids: Tensor) -> Tensor:
    """Look token ids up, [B, W] -> [B, W, E]."""
    return backbone.module(backbone.anatomy.tokens)(ids)


def run_token(backbone: Backbone, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Run one token [B] behind each sequence; return the hidden rows, [B, H], and the state after them."""
    single = layout_of(torch.ones(len(tokens), dtype=torch.int64)).to(tokens.device)
    hidden, after = run_behind(backbone, embed_tokens(backbone, tokens[:, None]), single, state)
    return hidden[:, -1], after


def require_writing(backbone: Backbone, lengths: Tensor, sampling: Sampling) -> None:
    """Refuse a backbone that cannot write, and prompts of such lengths, [B], whose completions would not fit."""
    if backbone.trunk.training:
        raise ValueError("the trunk is in train mode")
    require_output(backbone)
    most, longest = backbone.anatomy.positions, int(lengths.max()) if len(lengths) else 0
    if most is not None and longest + sampling.max_new_tokens > most:
        raise ModelError(
            f"a prompt of {longest} rows and {sampling.max_new_tokens} new tokens do not fit into the model's context",
            allowed=f"at most {most} together",
            remedy="shorten the prompt or lower `max_new_tokens`",
        )
