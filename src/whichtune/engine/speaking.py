"""A language model in its predicting state: prompts read, labels scored behind them, texts judged, answers written.

What all prompts of a split begin with (an instruction, fixed examples) is run once, and its keys and values are reused
for every row. B sequences, L labels, H the width of hidden rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whichtune.engine.optimizing import Arithmetic
from whichtune.methods.contracts import Inputs, unchanged
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Encoded, collate
from whichtune.models.causal import State, end_flush, run_behind, score_tokens
from whichtune.models.generate import Sampling, embed_tokens, write_behind
from whichtune.models.layout import layout_of
from whichtune.spec.decoding import DecodingSpec

LEAST_SHARED_TOKENS = 8
"""A shorter common head is run again in every row: copying its cache costs as much."""
MOST_BRANCHED_TOKENS = 65_536
"""Tokens in the caches that are copied for labels of several tokens; more labels than these hold take turns."""
SCORED_ROWS = 1024
"""Rows that are scored against the whole vocabulary at a time."""


@dataclass(frozen=True)
class Speaker:
    """A backbone that scores tokens, with what a method puts in front of its rows."""

    backbone: Backbone
    arithmetic: Arithmetic
    inputs: Inputs = unchanged

    @property
    def shares(self) -> bool:
        """Whether rows can go on behind a head that was run once, whatever their lengths."""
        return self.inputs is unchanged and not self.backbone.anatomy.local

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.backbone.device


@dataclass(frozen=True)
class Opening:
    """What all rows begin with, after it ran."""

    tokens: int
    state: State | None = None


@dataclass(frozen=True)
class Read:
    """Prompts that were read."""

    last: Tensor
    """[B, H]: the hidden row behind which the next token is scored."""
    state: State


def read_opening(speaker: Speaker, prompts: Encoded) -> Opening:
    """Run the tokens that all prompts begin with, but for the last one of the shortest."""
    count = count_shared(prompts) if speaker.shares else 0
    if count < LEAST_SHARED_TOKENS:
        return Opening(0)
    ids = torch.from_numpy(prompts.row(0)[:count].astype(np.int64))[None].to(speaker.device)
    layout = layout_of(torch.tensor([count])).to(speaker.device)
    with speaker.arithmetic.forward():
        _, state = run_behind(speaker.backbone, embed_tokens(speaker.backbone, ids), layout)
    return Opening(count, state)


def count_shared(prompts: Encoded) -> int:
    """Count the tokens that all rows begin with; each row keeps one of its own, and a lone row shares nothing."""
    if len(prompts) < 2:
        return 0
    first = prompts.row(0)
    count = int(prompts.lengths.min()) - 1
    for place in range(1, len(prompts)):
        differ = np.flatnonzero(prompts.row(place)[:count] != first[:count])
        count = int(differ[0]) if len(differ) else count
    return count


def read_prompts(speaker: Speaker, prompts: Encoded, rows: Sequence[int] | np.ndarray, head: Opening) -> Read:
    """Run the prompts of some rows behind the head they share, padded on the left."""
    batch = collate(behind(prompts, head.tokens), rows, side="left").to(speaker.device)
    embedded = speaker.backbone.embed(batch)
    with speaker.arithmetic.forward():
        if head.state is not None:
            hidden, state = run_behind(speaker.backbone, embedded, batch.layout, head.state.repeated(len(batch.rows)))
        else:
            laid = end_flush(speaker.backbone, *speaker.inputs(embedded, batch.layout))
            hidden, state = run_behind(speaker.backbone, *laid)
    return Read(hidden[:, -1], state)


def behind(prompts: Encoded, count: int) -> Encoded:
    """Return the rows without their first tokens."""
    if not count:
        return prompts
    places = np.arange(len(prompts.tokens)) - np.repeat(prompts.offsets[:-1], prompts.lengths)
    offsets = prompts.offsets - count * np.arange(len(prompts) + 1)
    return Encoded(prompts.tokens[places >= count], offsets, prompts.targets)


def score_words(speaker: Speaker, read: Read, words: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-likelihood of each label's word behind each prompt, [B, L] float64, in nats.

    The first tokens of all words are scored by the prompt's own pass; what words have beyond them is scored for all
    labels together in one more, behind the cache of the prompt.
    """
    with speaker.arithmetic.forward():
        shares = functional.log_softmax(score_tokens(speaker.backbone, read.last).float(), dim=-1)
    firsts = torch.tensor([word[0] for word in words], device=speaker.device)
    totals = shares[:, firsts].double()
    longer = [place for place, word in enumerate(words) if len(word) > 1]
    room = max(1, MOST_BRANCHED_TOKENS // read.state.real.numel())
    for start in range(0, len(longer), room):
        some = longer[start : start + room]
        rest = _score_rest(speaker, read.state.repeated(len(some)), [words[place] for place in some] * len(totals))
        totals[:, some] += rest.reshape(len(totals), len(some))
    return totals


def judge_answers(speaker: Speaker, read: Read, answers: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the mean negative log-likelihood of one answer a prompt, [B] float32, in nats; NaN where it is empty."""
    with speaker.arithmetic.forward():
        shares = functional.log_softmax(score_tokens(speaker.backbone, read.last).float(), dim=-1)
    firsts = torch.tensor([answer[0] if answer else 0 for answer in answers], device=speaker.device)
    totals = shares.gather(1, firsts[:, None])[:, 0].double()
    if max(map(len, answers)) > 1:
        totals += _score_rest(speaker, read.state.repeated(), answers)
    lengths = torch.tensor([len(answer) or float("nan") for answer in answers], dtype=torch.float64)
    return (-totals.cpu() / lengths).float().numpy()


def _score_rest(speaker: Speaker, state: State, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-likelihood of each sequence's tokens from the second on, [sequences] float64.

    The state holds what stands in front of each sequence, and is used up.
    """
    width = max(map(len, sequences)) - 1
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    targets = torch.full(ids.shape, -1)
    for row, sequence in enumerate(sequences):
        count = max(0, len(sequence) - 1)
        ids[row, :count] = torch.tensor(sequence[:count])
        targets[row, :count] = torch.tensor(sequence[1:])
    ids, targets = ids.to(speaker.device), targets.to(speaker.device)
    known = targets >= 0
    # A row without a second token runs one all the same, and no score of it is asked for.
    layout = layout_of(known.sum(dim=1).clamp(min=1).cpu()).to(speaker.device)
    with speaker.arithmetic.forward():
        hidden, _ = run_behind(speaker.backbone, embed_tokens(speaker.backbone, ids), layout, state)
        parts = zip(hidden[known].split(SCORED_ROWS), targets[known].split(SCORED_ROWS), strict=True)
        found = [
            functional.cross_entropy(score_tokens(speaker.backbone, rows).float(), golds, reduction="none")
            for rows, golds in parts
        ]
    losses = torch.zeros(targets.shape, dtype=torch.float64, device=speaker.device)
    losses[known] = torch.cat(found).double()
    return -losses.sum(dim=1)


def write_answers(speaker: Speaker, read: Read, sampling: Sampling, keys: Sequence[int]) -> tuple[list[str], list[int]]:
    """Write on behind prompts; return the texts and their numbers of tokens. The read state is used up."""
    with speaker.arithmetic.forward():
        done = write_behind(speaker.backbone, read.last, read.state, sampling, keys)
    decode = speaker.backbone.encoder.tokenizer.decode
    return [decode(list(one.tokens)) for one in done], [len(one.tokens) for one in done]


def make_sampling(speaker: Speaker, told: DecodingSpec, stop: Sequence[str], seed: int) -> Sampling:
    """Return how answers are written: settings with their length filled in, and where a completion ends."""
    assert told.max_new_tokens is not None, "the length is filled in"  # noqa: S101
    return Sampling(
        max_new_tokens=told.max_new_tokens,
        temperature=told.temperature,
        top_k=told.top_k,
        top_p=told.top_p,
        seed=seed,
        ends=speaker.backbone.encoder.ends,
        min_new_tokens=told.min_new_tokens,
        beams=told.beams,
        length_penalty=told.length_penalty,
        no_repeat_ngram=told.no_repeat_ngram,
        stop=stops_at(speaker, stop),
    )


def stops_at(speaker: Speaker, texts: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Return what tells that a completion came to one of the texts at which it ends."""
    return partial(_has_stop, speaker.backbone.encoder.tokenizer.decode, texts) if texts else None


def _has_stop(decode: Callable[[Sequence[int]], str], texts: Sequence[str], tokens: Sequence[int]) -> bool:
    written = decode(tokens).lstrip()
    return any(text in written for text in texts)
