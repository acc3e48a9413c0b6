"""Beam search: several beginnings of each completion are kept, and the best of those that came to an end wins.

At each step every beginning goes on with every token, and the best of all these go on (Sutskever et al. 2014). B
sequences still searched, K beams, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whichtune.models.backbone import Backbone
from whichtune.models.causal import State, score_tokens
from whichtune.models.sampling import Sampling, forbid
from whichtune.models.stepping import Completion, require_writing, run_token


@dataclass(frozen=True)
class Beam:
    """A beginning of a completion."""

    score: float
    """Sum of the tokens' log-probabilities, in nats; minus infinity for a place that nothing fills."""
    tokens: tuple[int, ...] = ()
    parent: int = 0
    """Which beam of the step before it goes on from."""


@dataclass
class Search:
    """The search for one completion: beams that go on, and completions that came to an end with their scores."""

    sampling: Sampling
    beams: list[Beam] = field(init=False)
    finished: list[tuple[float, Completion]] = field(default_factory=list, init=False)
    """At most K, the best first."""

    def __post_init__(self) -> None:
        self.beams = [Beam(0.0)]
        self._fill()

    def go_on(self, candidates: Sequence[Beam]) -> bool:
        """Take the best candidates of a step, the best first; return whether it is worth going on.

        Of those that end here, only such as are among the best K enter; the others would not have gone on either.
        """
        count = self.sampling.beams
        kept: list[Beam] = []
        for place, one in enumerate(one for one in candidates if one.score > -math.inf):
            if not self._ends(one):
                kept.append(one)
            elif place < count:
                self._finish(one)
        if not kept:
            return False
        self.beams = kept[:count]
        self._fill()
        return len(self.finished) < count or self._weigh(self.beams[0]) > self.finished[-1][0]

    def best(self) -> Completion:
        """Return the best completion found."""
        return self.finished[0][1] if self.finished else Completion(self.beams[0].tokens, False)

    def _ends(self, one: Beam) -> bool:
        stop = self.sampling.stop
        return (
            one.tokens[-1] in self.sampling.ends
            or len(one.tokens) == self.sampling.max_new_tokens
            or (stop is not None and stop(one.tokens))
        )

    def _finish(self, one: Beam) -> None:
        ended = one.tokens[-1] in self.sampling.ends
        done = Completion(one.tokens[:-1] if ended else one.tokens, ended)
        ranked = sorted([*self.finished, (self._weigh(one), done)], key=lambda pair: -pair[0])
        self.finished = ranked[: self.sampling.beams]

    def _weigh(self, one: Beam) -> float:
        return one.score / len(one.tokens) ** self.sampling.length_penalty

    def _fill(self) -> None:
        """Let there be K beams, so that searches fit into one batch; those that fill the places lead nowhere."""
        self.beams += [Beam(-math.inf, self.beams[0].tokens)] * (self.sampling.beams - len(self.beams))


@torch.no_grad()
def search_beams(backbone: Backbone, last_hidden: Tensor, state: State, sampling: Sampling) -> list[Completion]:
    """Complete sequences whose rows ran already, from the hidden row behind each, [B, H]; the state is taken over.

    A search is over when the best of its beams, were it to end at its present length, would not enter its K finished
    completions. With a length penalty above 0 a longer one might still have gained: this is the usual shortcut.
    """
    require_writing(backbone, state.lengths, sampling)
    searches = [Search(sampling) for _ in last_hidden]
    live, device = list(searches), last_hidden.device
    rows = torch.arange(len(searches), device=device).repeat_interleave(sampling.beams)
    hidden, state = last_hidden[rows], state.chosen(rows)
    for _ in range(sampling.max_new_tokens):
        going = [one.go_on(found) for one, found in zip(live, _extend(backbone, hidden, live, sampling), strict=True)]
        first = [place * sampling.beams for place in range(len(live))]
        rows = [
            at + beam.parent for at, one, more in zip(first, live, going, strict=True) if more for beam in one.beams
        ]
        live = [one for one, more in zip(live, going, strict=True) if more]
        if not live:
            break
        tokens = torch.tensor([beam.tokens[-1] for one in live for beam in one.beams], device=device)
        hidden, state = run_token(backbone, tokens, state.chosen(torch.tensor(rows, device=device)))
    return [one.best() for one in searches]


def _extend(backbone: Backbone, hidden: Tensor, live: Sequence[Search], sampling: Sampling) -> list[list[Beam]]:
    """Return the best candidates of each search, the best first; `hidden` [B * K, H] stands behind each beam.

    There are so many that K of them go on, however many end.
    """
    beams = [beam for one in live for beam in one.beams]
    scores = score_tokens(backbone, hidden).float().log_softmax(dim=1)
    scores = forbid(scores, [beam.tokens for beam in beams], sampling)
    reached = torch.tensor([beam.score for beam in beams], device=scores.device)
    sums = (scores + reached[:, None]).view(len(live), -1)
    count = min(max(2, 1 + len(sampling.ends)) * sampling.beams, sums.shape[1])
    values, places = sums.topk(count, dim=1)
    vocabulary = scores.shape[1]
    return [
        [
            Beam(value, (*one.beams[place // vocabulary].tokens, place % vocabulary), place // vocabulary)
            for value, place in zip(*pair, strict=True)
        ]
        for one, pair in zip(live, zip(values.tolist(), places.tolist(), strict=True), strict=True)
    ]
