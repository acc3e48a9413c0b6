"""Write on where a text ends: greedy, sampled or by beams, for padded batches, over one cache of keys and values.

What a sequence gets does not depend on its neighbours in the batch: masks skip padding, places follow the layout, and
each sequence draws from a stream of its own. Running the prompt and writing on are apart, so that what several items
share is run once and written behind many times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.beams import search_beams
from whichtune.models.causal import State, end_flush, run_behind, score_tokens
from whichtune.models.layout import Layout
from whichtune.models.sampling import Chooser, Sampling, forbid
from whichtune.models.stepping import Completion, Step, embed_tokens, require_writing, run_token

__all__ = [
    "Chooser",
    "Completion",
    "Sampling",
    "Step",
    "embed_tokens",
    "generate",
    "stream_behind",
    "stream_tokens",
    "write_behind",
]

FEW = 0.5
"""Share of the sequences that run at which those that are done are left out: copying the cache costs about a step."""


@torch.no_grad()
def generate(
    backbone: Backbone, embedded: Tensor, layout: Layout, sampling: Sampling, keys: Sequence[int] | None = None
) -> list[Completion]:
    """Complete each sequence of [B, W, E] embedded rows, virtual rows in front included.

    `keys` name each sequence's stream of random numbers, by default its place in the batch; with keys of their own
    (an example's number), sequences get the same draws in any batch.
    """
    require_writing(backbone, layout.lengths, sampling)
    hidden, state = run_behind(backbone, *end_flush(backbone, embedded, layout))
    return write_behind(backbone, hidden[:, -1], state, sampling, keys)


@torch.no_grad()
def stream_tokens(
    backbone: Backbone, embedded: Tensor, layout: Layout, sampling: Sampling, keys: Sequence[int] | None = None
) -> Iterator[Step]:
    """Yield the new tokens step by step, until every sequence is done or the limit is reached.

    The trunk must be in eval mode: dropout has no place in writing. A method that changes keys and values of the first
    columns (deep prompts) needs a batch that is padded on the left.
    """
    _refuse_beams(sampling)
    require_writing(backbone, layout.lengths, sampling)
    hidden, state = run_behind(backbone, *end_flush(backbone, embedded, layout))
    yield from stream_behind(backbone, hidden[:, -1], state, sampling, keys)


@torch.no_grad()
def write_behind(
    backbone: Backbone, last_hidden: Tensor, state: State, sampling: Sampling, keys: Sequence[int] | None = None
) -> list[Completion]:
    """Complete sequences whose rows ran already, from the hidden row behind which the next token is scored, [B, H].

    The state may have padding anywhere that masks skip. It is taken over: give `state.repeated()` where it is needed
    again.
    """
    if sampling.beams > 1:
        return search_beams(backbone, last_hidden, state, sampling)
    tokens: list[list[int]] = [[] for _ in last_hidden]
    ended = [False] * len(tokens)
    for step in stream_behind(backbone, last_hidden, state, sampling, keys):
        for row, (token, live) in enumerate(zip(step.tokens.tolist(), step.live.tolist(), strict=True)):
            if live and token in sampling.ends:
                ended[row] = True
            elif live:
                tokens[row].append(token)
    return [Completion(tuple(own), done) for own, done in zip(tokens, ended, strict=True)]


@torch.no_grad()
def stream_behind(
    backbone: Backbone, last_hidden: Tensor, state: State, sampling: Sampling, keys: Sequence[int] | None = None
) -> Iterator[Step]:
    """Yield the new tokens behind rows that ran already, step by step; the state is taken over.

    Sequences that are done run on beside the others until they are half of those that run; then they are left out.
    """
    _refuse_beams(sampling)
    require_writing(backbone, state.lengths, sampling)
    chooser = Chooser(sampling, range(len(last_hidden)) if keys is None else keys)
    written: list[list[int]] = [[] for _ in last_hidden]
    live = [True] * len(written)
    running = list(range(len(written)))
    hidden = last_hidden
    for count in range(sampling.max_new_tokens):
        chosen = chooser.choose(forbid(score_tokens(backbone, hidden), [written[row] for row in running], sampling))
        yield Step(_spread(chosen, running, len(live)), torch.tensor(live, dtype=torch.bool, device=chosen.device))
        for row, token in zip(running, chosen.tolist(), strict=True):
            live[row] = live[row] and _write(sampling, written[row], token)
        going = [place for place, row in enumerate(running) if live[row]]
        if count + 1 == sampling.max_new_tokens or not going:
            return
        if len(going) <= len(running) * FEW:
            kept = torch.tensor(going, device=chosen.device)
            state, chosen = state.chosen(kept), chosen[kept]
            chooser, running = chooser.only(going), [running[place] for place in going]
        hidden, state = run_token(backbone, chosen, state)


def _spread(chosen: Tensor, running: Sequence[int], count: int) -> Tensor:
    """Put the tokens of the sequences that run at their places among all, [count]."""
    if len(running) == count:
        return chosen
    whole = chosen.new_zeros(count)
    whole[torch.tensor(running, device=chosen.device)] = chosen
    return whole


def _write(sampling: Sampling, own: list[int], token: int) -> bool:
    """Append a token that does not end its sequence; return whether the sequence goes on."""
    if token in sampling.ends:
        return False
    own.append(token)
    return sampling.stop is None or not sampling.stop(own)


def _refuse_beams(sampling: Sampling) -> None:
    if sampling.beams > 1:
        remedy = "set `beams` to 1, or wait for the whole completion"
        raise ModelError("beams while tokens are streamed", value=sampling.beams, allowed="1", remedy=remedy)
