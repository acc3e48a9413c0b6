"""Predict a split in words: every row's prompt read once, its labels scored and its answer written behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
import torch

from whichtune.data.examples import Example
from whichtune.engine.portions import go_through, group_rows
from whichtune.engine.speaking import (
    Opening,
    Read,
    Speaker,
    judge_answers,
    make_sampling,
    read_opening,
    read_prompts,
    score_words,
    write_answers,
)
from whichtune.errors import ModelError, NonFiniteError
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.models.generate import Sampling
from whichtune.records.predictions import Predictions
from whichtune.spec.seeds import derive_seed
from whichtune.tasks.answers import Answers, tabulate_answers
from whichtune.tasks.asking import Asking, encode_words

Depth = Literal["answers", "glance"]


@dataclass(frozen=True)
class Interview:
    """Who is asked, in which way, and how many rows at a time."""

    speaker: Speaker
    asking: Asking
    batch: int
    seed: int = 0
    """Of sampled answers; each row draws from a stream of its own, by its id."""
    depth: Depth = "answers"
    """`glance`: what a validation while training needs; nothing is written."""

    def sampling(self) -> Sampling:
        """How answers are written."""
        return make_sampling(self.speaker, self.asking.decoding, self.asking.recipe.style.stop, self.seed)

    @property
    def writes(self) -> bool:
        """Whether anything is written: not while training, and not where the likeliest label is the answer."""
        judged = self.asking.by_labels and self.asking.scoring == "likelihood"
        return self.depth == "answers" and not judged


@dataclass
class Columns:
    """What the batches of a split leave behind, at the rows' own places."""

    raw: list[str]
    tokens_out: np.ndarray
    seconds: np.ndarray
    log_likelihoods: np.ndarray | None
    loss: np.ndarray | None


@torch.inference_mode()
def answer_in_words(interview: Interview, split: str, examples: Sequence[Example], encoded: Encoded) -> Predictions:
    """Ask about every row once; return the predictions in the rows' order. There must be one row at least."""
    prompts, asking = encoded.prompts(), interview.asking
    words = encode_words(asking, interview.speaker.backbone.encoder, examples[0]) if asking.by_labels else []
    if interview.writes:
        _require_room(asking, words)
    columns = _make_columns(len(examples), len(words), texts=not asking.labels)
    head = read_opening(interview.speaker, prompts)
    written = interview.writes

    def answer(rows: np.ndarray) -> None:
        start = perf_counter()
        _answer_rows(interview, (encoded, prompts, rows), [examples[row] for row in rows], (head, words), columns)
        columns.seconds[rows] = (perf_counter() - start) / len(rows)

    kept = prompts.lengths + (asking.room if written else 0)
    go_through(group_rows(kept, interview.batch), answer, interview.speaker.device)
    table = tabulate_answers(
        asking, split, examples, Answers(columns.raw if written else None, columns.log_likelihoods, columns.loss)
    )
    table.tokens_in = prompts.lengths.astype(np.int32)
    table.tokens_out = columns.tokens_out if written else None
    table.batch_seconds = columns.seconds
    table.prompt_hash = [hash_prompt(prompts, row) for row in range(len(prompts))]
    return table


def hash_prompt(prompts: Encoded, row: int) -> str:
    """Hash the token ids of one prompt."""
    return fingerprint_texts([",".join(map(str, prompts.row(row).tolist()))])[:16]


def require_words_fit(asking: Asking, encoder: TextEncoder, item: Example) -> None:
    """Refuse a length of answers within which a label word cannot be written, before anything is trained or asked."""
    if asking.by_labels and asking.scoring == "generation":
        _require_room(asking, encode_words(asking, encoder, item))


def _require_room(asking: Asking, words: list[list[int]]) -> None:
    """Refuse a length of answers within which the longest label word cannot be written."""
    longest = max(words, key=len, default=[])
    if len(longest) > asking.room:
        raise ModelError(
            "decoding.max_new_tokens", value=asking.room,
            allowed=f"at least {len(longest)}: the word {asking.words()[words.index(longest)]!r} has so many tokens",
            remedy="raise it, or give shorter words (`words: {label: word}`)",
        )  # fmt: skip


def _make_columns(rows: int, words: int, *, texts: bool) -> Columns:
    return Columns(
        raw=[""] * rows,
        tokens_out=np.zeros(rows, np.int32),
        seconds=np.zeros(rows, np.float32),
        log_likelihoods=np.zeros((rows, words)) if words else None,
        loss=np.zeros(rows, np.float32) if texts else None,
    )


def _answer_rows(
    interview: Interview,
    given: tuple[Encoded, Encoded, np.ndarray],
    examples: Sequence[Example],
    shared: tuple[Opening, list[list[int]]],
    columns: Columns,
) -> None:
    """Fill in the columns of one batch."""
    (encoded, prompts, rows), (head, words), speaker = given, shared, interview.speaker
    read = read_prompts(speaker, prompts, rows, head)
    _require_numbers(read)
    if columns.loss is not None:
        columns.loss[rows] = judge_answers(speaker, read, [encoded.answer(row) for row in rows])
    if columns.log_likelihoods is not None:
        columns.log_likelihoods[rows] = score_words(speaker, read, words).numpy(force=True)
    if interview.writes:
        keys = [derive_seed(interview.seed, "answer", one.id) for one in examples]
        texts, lengths = write_answers(speaker, read, interview.sampling(), keys)
        columns.tokens_out[rows] = lengths
        for row, text in zip(rows, texts, strict=True):
            columns.raw[row] = text


def _require_numbers(read: Read) -> None:
    if not bool(torch.isfinite(read.last).all()):
        raise NonFiniteError("hidden rows of prompts are not numbers: the training diverged")
