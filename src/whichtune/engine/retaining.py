"""What a language model makes of rows it was not tuned on, row by row: the loss of a text, or an answer right or wrong.

The same rows in the same tokens before and after: virtual rows in front take no token's place, and score none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.engine.assembly import run_attached
from whichtune.engine.portions import go_through, group_rows
from whichtune.engine.speaking import SCORED_ROWS, Speaker
from whichtune.engine.writing import Interview, answer_in_words
from whichtune.errors import ModelError, NonFiniteError
from whichtune.models.batch import Encoded, collate
from whichtune.models.causal import score_tokens
from whichtune.models.encoder import TextEncoder
from whichtune.models.prompt_tokens import encode_prompt
from whichtune.records.retention import RetentionRows
from whichtune.tasks.asking import Asking, encode_asked

LEAST_TOKENS = 2
"""A row of fewer tokens has none that another one stands before."""
SPLIT = "retention"


def encode_texts(encoder: TextEncoder, examples: Sequence[Example], max_length: int) -> tuple[Encoded, np.ndarray]:
    """Return texts as token ids, each token after the first a target, and the places of those with one at least.

    In front of a text stands what the tokenizer puts there, behind it nothing: no model is to see an end coming where
    a text was cut.
    """
    most = encoder.max_positions
    if most is not None and max_length > most:
        allowed = f"at most {most}, the positions of the model"
        raise ModelError("max_length", value=max_length, allowed=allowed, remedy="lower it")
    whole = [encode_prompt(encoder, one.text, chat=False) for one in examples]
    kept = np.array([place for place, row in enumerate(whole) if len(row) >= LEAST_TOKENS], np.int64)
    if not len(kept):
        raise ModelError("the tokenizer makes fewer than two tokens of every text", remedy="give longer texts")
    rows = [whole[place][:max_length] for place in kept]
    tokens = np.concatenate([np.array(row, np.int32) for row in rows])
    encoder.require_known(tokens)
    encoded = Encoded(
        tokens=tokens,
        offsets=np.cumsum([0, *map(len, rows)]),
        targets=np.full(len(rows), -1, np.int64),
        over_long=tuple(at for at, place in enumerate(kept) if len(whole[place]) > max_length),
        starts=np.ones(len(rows), np.int64),
    )
    return encoded, kept


def judge_texts(speaker: Speaker, examples: Sequence[Example], max_length: int, size: int) -> RetentionRows:
    """Return the negative log-likelihood of each text's tokens after the first, summed over them, in nats."""
    encoded, kept = encode_texts(speaker.backbone.encoder, examples, max_length)
    totals = np.zeros(len(encoded))

    def judge(rows: np.ndarray) -> None:
        totals[rows] = _sum_losses(speaker, encoded, rows)

    go_through(group_rows(encoded.lengths, size), judge, speaker.device)
    if not np.isfinite(totals).all():
        raise NonFiniteError("the loss of general text is not a number")
    return RetentionRows(
        ids=[examples[place].id for place in kept],
        totals=totals,
        counts=(encoded.lengths - 1).astype(np.int32),
        cut=encoded.cut,
        left_out=len(examples) - len(kept),
    )


def judge_labels(
    speaker: Speaker, asking: Asking, examples: Sequence[Example], max_length: int, size: int
) -> RetentionRows:
    """Return whether the likeliest label word behind each prompt is the gold one."""
    encoded = encode_asked(asking, examples, speaker.backbone.encoder, max_length)
    interview = Interview(speaker, replace(asking, scoring="likelihood"), size, depth="glance")
    table = answer_in_words(interview, SPLIT, examples, encoded)
    right = [told == gold for told, gold in zip(table.parsed, table.gold, strict=True)]
    return RetentionRows(
        ids=table.ids, totals=np.array(right, np.float64), counts=np.ones(len(right), np.int32), cut=encoded.cut
    )


@torch.inference_mode()
def _sum_losses(speaker: Speaker, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
    """Return the summed loss of each row of one batch, [B] float64."""
    batch = collate(encoded, rows).to(speaker.device)
    with speaker.arithmetic.forward():
        hidden, layout = run_attached(speaker.backbone, speaker.inputs, batch)
        assert layout.targets is not None  # noqa: S101 - rows with answers have targets
        parts = zip(hidden[layout.targets].split(SCORED_ROWS), batch.targets.split(SCORED_ROWS), strict=True)
        found = [
            functional.cross_entropy(score_tokens(speaker.backbone, read).float(), golds, reduction="none")
            for read, golds in parts
        ]
    lengths = layout.targets.sum(dim=1).cpu().numpy()
    losses = torch.cat(found).double().numpy(force=True)
    return np.add.reduceat(losses, np.cumsum(lengths) - lengths)  # every row has a target
