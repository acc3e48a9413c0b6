"""From texts to token ids: the family's own tokenizer, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from whichtune.data.batch import Encoded
from whichtune.errors import ModelError
from whichtune.fetch.fingerprint import fingerprint_texts

CHUNK_TEXTS = 1000
"""Texts tokenized at a time."""


class TextEncoder:
    """A tokenizer with the limits of its model."""

    def __init__(self, tokenizer: Any, *, positions: int | None, segments: bool) -> None:
        self.tokenizer = tokenizer
        self.positions = positions
        """Rows a sequence may have; None where the family sets no limit."""
        self.segments = segments
        """Whether rows carry a segment."""
        self.fingerprint = fingerprint_tokenizer(tokenizer)

    def encode(self, texts: Sequence[str], targets: np.ndarray, max_length: int) -> Encoded:
        """Tokenize with the family's special tokens; longer texts lose their tail and are counted."""
        self._check_length(max_length)
        parts, lengths, cut = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
        for start in range(0, len(texts), CHUNK_TEXTS):
            whole = self._tokenize(list(texts[start : start + CHUNK_TEXTS]), None)
            kept = self._tokenize(list(texts[start : start + CHUNK_TEXTS]), max_length)
            cut += sum(len(long) > len(short) for long, short in zip(whole, kept, strict=True))
            parts.append(np.fromiter((token for row in kept for token in row), np.int32))
            lengths.append(np.array([len(row) for row in kept], np.int64))
        tokens = np.concatenate(parts)
        offsets = np.concatenate([[0], np.concatenate(lengths).cumsum()]).astype(np.int64)
        segments = np.zeros(len(tokens), np.int8) if self.segments else None
        return Encoded(tokens, offsets, np.asarray(targets, np.int64), segments, cut)

    def _tokenize(self, texts: list[str], max_length: int | None) -> list[list[int]]:
        return self.tokenizer(
            texts, truncation=max_length is not None, max_length=max_length, return_attention_mask=False, verbose=False
        )["input_ids"]

    def _check_length(self, max_length: int) -> None:
        if self.positions is not None and max_length > self.positions:
            raise ModelError(
                "training.max_length is more than the model has positions for",
                value=max_length,
                allowed=f"up to {self.positions}",
                remedy=f"set it to {self.positions} or less",
            )


def fingerprint_tokenizer(tokenizer: Any) -> str:
    """Hash what decides the token ids: the whole tokenizer as it would be saved."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return fingerprint_texts([backend.to_str()])
    told = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    return fingerprint_texts([json.dumps(told, sort_keys=True)])
