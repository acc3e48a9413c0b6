"""How the next token is chosen: the settings, the tokens that may not come, and the draw.

B sequences, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whichtune.errors import ModelError
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
    min_new_tokens: int = 0
    """No token ends a sequence before it has so many."""
    beams: int = 1
    """Sequences that are kept at each step of a beam search; 1 is no search."""
    length_penalty: float = 1.0
    """Beams are compared by the sum of log-probabilities divided by length ** penalty, the end token counted; above 0
    it is longer sequences that gain (Wu et al. 2016)."""
    no_repeat_ngram: int = 0
    """So many tokens in a row may stand in a completion once only; 0 allows all. The prompt does not count: what is
    written may quote it."""
    stop: Callable[[Sequence[int]], bool] | None = None
    """Told the new tokens of each live sequence after each step; where it says True, the sequence is done."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ModelError("max_new_tokens", value=self.max_new_tokens, allowed="at least 1")
        if not self.temperature >= 0:
            raise ModelError("temperature", value=self.temperature, allowed="0 (the best token) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ModelError("top_k", value=self.top_k, allowed="at least 1, or none")
        if not 0 < self.top_p <= 1:
            raise ModelError("top_p", value=self.top_p, allowed="more than 0, up to 1")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            allowed = f"0 to {self.max_new_tokens}, which is `max_new_tokens`"
            raise ModelError("min_new_tokens", value=self.min_new_tokens, allowed=allowed)
        if self.no_repeat_ngram < 0:
            raise ModelError("no_repeat_ngram", value=self.no_repeat_ngram, allowed="0 (off) or more")
        if self.beams < 1:
            raise ModelError("beams", value=self.beams, allowed="at least 1")
        if self.beams > 1 and self.temperature:
            remedy = "set `temperature` to 0, or `beams` to 1"
            raise ModelError("temperature with several beams", value=self.temperature, allowed="0", remedy=remedy)
        if not math.isfinite(self.length_penalty):
            raise ModelError("length_penalty", value=self.length_penalty, allowed="a finite number")


class Chooser:
    """Chooses the next token of every sequence; each has a stream of its own."""

    def __init__(self, sampling: Sampling, keys: Sequence[int]) -> None:
        self.sampling = sampling
        seeds = [derive_seed(sampling.seed, "generation", key) for key in keys]
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def only(self, rows: Sequence[int]) -> Chooser:
        """Return the chooser of some sequences, in the order given; they go on drawing from their own streams."""
        some = Chooser(self.sampling, ())
        some.generators = [self.generators[row] for row in rows]
        return some

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


def forbid(scores: Tensor, written: Sequence[Sequence[int]], sampling: Sampling) -> Tensor:
    """Put the tokens that may not come behind what was written to minus infinity, [B, V] -> [B, V].

    All sequences of a batch are at the same step, so those that are not done have equally many tokens.
    """
    ends = list(sampling.ends) if max(map(len, written), default=0) < sampling.min_new_tokens else []
    repeats = [find_repeats(own, sampling.no_repeat_ngram) for own in written]
    if not ends and not any(repeats):
        return scores
    scores = scores.clone()
    scores[:, ends] = -torch.inf
    for row, tokens in enumerate(repeats):
        scores[row, tokens] = -torch.inf
    return scores


def find_repeats(tokens: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would end a run of `size` tokens which stood before; none for size 0."""
    if not 0 < size <= len(tokens):
        return []
    last = tuple(tokens[len(tokens) - size + 1 :])
    starts = range(len(tokens) - size + 1)
    return sorted({tokens[at + size - 1] for at in starts if tuple(tokens[at : at + size - 1]) == last})
