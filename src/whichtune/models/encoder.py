"""From texts to token ids: a tokenizer, its special tokens and the lengths its model allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from whichtune.errors import ModelError
from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.models.batch import Encoded
from whichtune.models.chat import ChatForm
from whichtune.models.layout import Side

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK_TEXTS = 1000
"""Texts encoded at a time: their token objects live only that long."""


@dataclass(frozen=True)
class Fill:
    """A width that every text has, and the token behind those that are shorter; the model reads it like others."""

    width: int
    token: int


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer of the `tokenizers` library and what its model allows."""

    tokenizer: Tokenizer
    """It neither cuts nor pads on its own."""
    vocabulary: int
    """Rows of the model's token table."""
    max_positions: int | None = None
    """Rows a sequence may have; None where the model sets no limit."""
    segments: bool = False
    """Whether the model tells a first text from a second."""
    pad_side: Side = "right"
    """Side on which the family pads."""
    cut_side: Side = "right"
    """Side on which an over-long text loses tokens."""
    chat: ChatForm | None = None
    """How the model expects a conversation to be written, or None where it was trained on none."""
    fill: Fill | None = None
    """What every text is filled up to, where its model reads nothing shorter."""
    ends: tuple[int, ...] = ()
    """Tokens that end what the model writes, the one that it is trained to end with first; the pad token is none of
    them unless it is the same."""

    @cached_property
    def front(self) -> tuple[int, ...]:
        """Ids of the special tokens that the tokenizer puts in front of a text."""
        row = self.tokenizer.encode("a")
        return tuple(row.ids[: row.special_tokens_mask.index(0)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the ids and segments of a text."""
        filled = [] if self.fill is None else [str(self.fill)]
        return fingerprint_texts([self.tokenizer.to_str(), str(self.segments), self.cut_side, *filled])

    @cached_property
    def manners(self) -> str:
        """SHA-256 over what decides how a prompt is put and where an answer ends, beside the ids of texts."""
        form = [] if self.chat is None else [self.chat.template, *(part for pair in self.chat.tokens for part in pair)]
        return fingerprint_texts([*map(str, self.ends), *form])

    def encode(
        self, texts: Sequence[str], targets: np.ndarray, max_length: int, pairs: Sequence[str] | None = None
    ) -> Encoded:
        """Encode texts with their special tokens; longer ones are cut to `max_length` tokens and counted.

        With `pairs`, the second text of each row, both stand in one row in the form of the tokenizer's own template
        (BERT: `[CLS] a [SEP] b [SEP]`, RoBERTa: `<s> a </s></s> b </s>`), or with a line break between them where it
        has none (GPT-2, Llama), and the longer text is cut first: a token at a time off whichever has more, until the
        row fits.
        """
        if len(texts) != len(targets) or (pairs is not None and len(pairs) != len(texts)):
            seconds = "" if pairs is None else f", {len(pairs)} second texts"
            raise ValueError(f"{len(texts)} texts{seconds} and {len(targets)} targets")
        tokenizer = self._limit(max_length, pairs=pairs is not None)
        inputs: Sequence[Any] = texts if pairs is None else list(zip(texts, pairs, strict=True))
        ids, segments, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int8)], [np.zeros(1, np.int64)]
        over_long: list[int] = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            rows = tokenizer.encode_batch_fast(list(inputs[start : start + CHUNK_TEXTS]))
            ids.append(_flatten([row.ids for row in rows], np.int32))
            if self.segments:
                segments.append(_flatten([row.type_ids for row in rows], np.int8))
            lengths.append(np.array([len(row.ids) for row in rows], np.int64))
            over_long += [start + place for place, row in enumerate(rows) if row.overflowing]
        tokens = np.concatenate(ids)
        self.require_known(tokens)
        return Encoded(
            tokens=tokens,
            offsets=np.concatenate(lengths).cumsum(),
            targets=np.asarray(targets, dtype=np.int64),
            segments=np.concatenate(segments) if self.segments else None,
            over_long=tuple(over_long),
        )

    def _limit(self, max_length: int, *, pairs: bool) -> Tokenizer:
        """Return a copy that cuts at `max_length`, so that no call leaves a trace in this encoder."""
        if self.max_positions is not None and max_length > self.max_positions:
            allowed = f"at most {self.max_positions}, the positions of the model"
            raise ModelError("max_length", value=max_length, allowed=allowed, remedy="lower `max_length`")
        tokenizer = copy_tokenizer(self.tokenizer)
        if pairs and not self._has_pairs:
            set_line_between(tokenizer)
        special, texts = tokenizer.num_special_tokens_to_add(pairs), 2 if pairs else 1
        if max_length < special + texts:
            of = "pair" if pairs else "text"
            allowed = f"at least {special + texts}: the tokenizer adds {special} special tokens to each {of}"
            raise ModelError("max_length", value=max_length, allowed=allowed)
        tokenizer.enable_truncation(max_length, strategy="longest_first", direction=self.cut_side)
        if self.fill is not None:
            tokenizer.enable_padding(length=self.fill.width, pad_id=self.fill.token)
        return tokenizer

    @property
    def _has_pairs(self) -> bool:
        """Whether the tokenizer has a form of its own for two texts, with something between them."""
        return self.tokenizer.num_special_tokens_to_add(True) > self.tokenizer.num_special_tokens_to_add(False)

    def require_known(self, tokens: np.ndarray) -> None:
        """Raise where a token id has no row in the model's table."""
        highest = int(tokens.max(initial=0))
        if highest >= self.vocabulary:
            allowed = f"below {self.vocabulary}, the rows of the model's token table"
            remedy = "tokenizer and weights do not belong together"
            raise ModelError("token id of the tokenizer", value=highest, allowed=allowed, remedy=remedy)


def copy_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return an independent copy that neither cuts nor pads."""
    from tokenizers import Tokenizer as Backend

    fresh = Backend.from_str(tokenizer.to_str())
    fresh.no_truncation()
    fresh.no_padding()
    return fresh


def set_line_between(tokenizer: Tokenizer) -> None:
    """Put a line break between the two texts of a row, and around them what the tokenizer puts around one text."""
    from tokenizers.processors import TemplateProcessing

    alone = tokenizer.encode("a")
    inside = [place for place, mark in enumerate(alone.special_tokens_mask) if not mark]
    line = tokenizer.encode("\n", add_special_tokens=False)
    around = [
        list(zip(alone.tokens, alone.ids, strict=True))[part]
        for part in (slice(inside[0]), slice(inside[-1] + 1, None))
    ]
    between = list(zip(line.tokens, line.ids, strict=True))
    if not between:
        remedy = "choose a backbone whose tokenizer has a template for pairs, or one that knows line breaks"
        raise ModelError("the tokenizer puts no token between two texts", remedy=remedy)
    front, back = ([name for name, _ in part] for part in around)
    middle = [name for name, _ in between]
    tokenizer.post_processor = TemplateProcessing(
        single=[*front, "$A", *back],
        pair=[*front, "$A:0", *middle, "$B:0", *back],
        special_tokens=list(dict.fromkeys([*around[0], *between, *around[1]])),
    )


def _flatten(rows: list[list[int]], dtype: Any) -> np.ndarray:
    return np.fromiter(chain.from_iterable(rows), dtype, count=sum(map(len, rows)))
