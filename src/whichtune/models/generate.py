"""Write on where a text ends: greedy or sampled, for padded batches, over one cache of keys and values.

What a sequence gets does not depend on its neighbours in the batch: every sequence ends in the last column, places
follow the layout, and each sequence draws from a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.causal import end_flush, require_output, run_behind, score_tokens
from whichtune.models.layout import Layout, layout_of
from whichtune.spec.seeds import derive_seed


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when a sequence is done."""

    max_new_tokens: int = 32
    temperature: float = 0.0
    """What the scores are divided by; 0 takes the best token."""
    top_k: int | None = None
    """Draw among so many best tokens only."""
    top_p: float = 1.0
    """Draw among the best tokens that hold this share of the probability together (Holtzman et al. 2020)."""
    seed: int = 0
    ends: tuple[int, ...] = ()
    """Tokens that end a sequence; a pad token is none of them unless it is listed."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ModelError("max_new_tokens", value=self.max_new_tokens, allowed="at least 1")
        if not self.temperature >= 0:
            raise ModelError("temperature", value=self.temperature, allowed="0 (the best token) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ModelError("top_k", value=self.top_k, allowed="at least 1, or none")
        if not 0 < self.top_p <= 1:
            raise ModelError("top_p", value=self.top_p, allowed="more than 0, up to 1")


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
    """Whether it came to an end by itself, and not by the limit."""


def generate(
    backbone: Backbone, embedded: Tensor, layout: Layout, sampling: Sampling, keys: Sequence[int] | None = None
) -> list[Completion]:
    """Complete each sequence of [B, W, E] embedded rows, virtual rows in front included.

    `keys` name each sequence's stream of random numbers, by default its place in the batch; with keys of their own
    (an example's number), sequences get the same draws in any batch.
    """
    tokens: list[list[int]] = [[] for _ in embedded]
    ended = [False] * len(tokens)
    for step in stream_tokens(backbone, embedded, layout, sampling, keys):
        for row, (token, live) in enumerate(zip(step.tokens.tolist(), step.live.tolist(), strict=True)):
            if live and token in sampling.ends:
                ended[row] = True
            elif live:
                tokens[row].append(token)
    return [Completion(tuple(own), done) for own, done in zip(tokens, ended, strict=True)]


@torch.no_grad()
def stream_tokens(
    backbone: Backbone, embedded: Tensor, layout: Layout, sampling: Sampling, keys: Sequence[int] | None = None
) -> Iterator[Step]:
    """Yield the new tokens step by step, until every sequence is done or the limit is reached.

    The trunk must be in eval mode: dropout has no place in writing. A method that changes keys and values of the first
    columns (deep prompts) needs a batch that is padded on the left.
    """
    if backbone.trunk.training:
        raise ValueError("the trunk is in train mode")
    require_output(backbone)
    _require_room(backbone, layout, sampling)
    chooser = Chooser(sampling, range(len(embedded)) if keys is None else keys)
    ends = torch.tensor(sampling.ends, dtype=torch.int64, device=embedded.device)
    hidden, state = run_behind(backbone, *end_flush(backbone, embedded, layout))
    live = torch.ones(len(embedded), dtype=torch.bool, device=embedded.device)
    single = layout_of(torch.ones(len(embedded), dtype=torch.int64)).to(embedded.device)
    for count in range(sampling.max_new_tokens):
        chosen = chooser.choose(score_tokens(backbone, hidden[:, -1]))
        yield Step(chosen, live)
        live = live & ~torch.isin(chosen, ends)
        if count + 1 == sampling.max_new_tokens or not bool(live.any()):
            return
        hidden, state = run_behind(backbone, embed_tokens(backbone, chosen[:, None]), single, state)


def embed_tokens(backbone: Backbone, ids: Tensor) -> Tensor:
    """Look token ids up, [B, W] -> [B, W, E]."""
    return backbone.module(backbone.anatomy.tokens)(ids)


class Chooser:
    """Chooses the next token of every sequence; each has a stream of its own."""

    def __init__(self, sampling: Sampling, keys: Sequence[int]) -> None:
        self.sampling = sampling
        seeds = [derive_seed(sampling.seed, "generation", key) for key in keys]
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def choose(self, scores: Tensor) -> Tensor:
        """[B, V] -> [B] int64."""
        if self.sampling.temperature == 0:
            return scores.argmax(dim=1)
        shares = self.narrow(scores.double() / self.sampling.temperature).softmax(dim=1)
        draws = torch.cat([torch.rand(1, dtype=torch.float64, generator=one) for one in self.generators])
        below = shares.cumsum(dim=1)
        places = torch.searchsorted(below, (draws.to(below.device) * below[:, -1])[:, None], right=True)[:, 0]
        return places.clamp(max=scores.shape[1] - 1)

    def narrow(self, scores: Tensor) -> Tensor:
        """Put every token outside of `top_k` and `top_p` to minus infinity."""
        if self.sampling.top_k is not None and self.sampling.top_k < scores.shape[1]:
            least = scores.topk(self.sampling.top_k, dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if self.sampling.top_p < 1:
            ordered, places = scores.sort(dim=1, descending=True, stable=True)
            shares = ordered.softmax(dim=1)
            beyond = shares.cumsum(dim=1) - shares >= self.sampling.top_p
            scores = scores.masked_fill(beyond.gather(1, places.argsort(dim=1)), -torch.inf)
        return scores


def _require_room(backbone: Backbone, layout: Layout, sampling: Sampling) -> None:
    most, longest = backbone.anatomy.positions, int(layout.lengths.max())
    if most is not None and longest + sampling.max_new_tokens > most:
        raise ModelError(
            f"a prompt of {longest} rows and {sampling.max_new_tokens} new tokens do not fit into the model's context",
            allowed=f"at most {most} together",
            remedy="shorten the prompt or lower `max_new_tokens`",
        )
