"""Texts to ids: against the tokenizer called by hand, and the limits."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from whichtune.errors import ModelError
from whichtune.models import encoder as module
from whichtune.models.encoder import TextEncoder, copy_tokenizer
from whichtune.models.tiny import make_byte_tokenizer

TEXTS = ["plain", "", "naïve café – ¿ünïcode? 日本", "long " * 40, "a\nb\tc"]


@pytest.fixture
def encoder():
    return TextEncoder(make_byte_tokenizer(), vocabulary=259, max_positions=128, segments=True)


def encode(encoder, texts=TEXTS, max_length=64):
    return encoder.encode(texts, np.arange(len(texts)), max_length)


def test_ids_equal_the_library_called_by_hand(encoder):
    whole = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer())
    expected = whole(TEXTS, truncation=True, max_length=64)["input_ids"]
    encoded = encode(encoder)
    assert [encoded.row(index).tolist() for index in range(len(TEXTS))] == expected
    assert encoded.cut == 1
    assert encoded.targets.tolist() == [0, 1, 2, 3, 4]
    assert (encoded.tokens.dtype, encoded.segments.dtype, len(encoded.segments)) == (
        np.int32,
        np.int8,
        len(encoded.tokens),
    )


def test_every_byte_has_a_token_and_comes_back(encoder):
    text = "".join(map(chr, range(32, 400)))
    long = TextEncoder(encoder.tokenizer, vocabulary=259)
    ids = encode(long, [text], 2000).row(0)
    assert (ids[0], ids[-1]) == (0, 2)
    assert long.tokenizer.decode(ids[1:-1].tolist()) == text


def test_a_cut_row_keeps_its_special_tokens(encoder):
    row = encode(encoder, ["abcdefgh"], 5).row(0)
    assert len(row) == 5
    assert (row[0], row[-1]) == (0, 2)


def test_chunks_change_nothing(encoder, monkeypatch):
    whole = encode(encoder)
    monkeypatch.setattr(module, "CHUNK_TEXTS", 2)
    parts = encode(encoder)
    assert np.array_equal(whole.tokens, parts.tokens)
    assert np.array_equal(whole.offsets, parts.offsets)
    assert whole.cut == parts.cut


def test_no_texts_and_no_segments(encoder):
    empty = encode(encoder, [])
    assert (len(empty), len(empty.tokens)) == (0, 0)
    assert encode(TextEncoder(encoder.tokenizer, 259)).segments is None


def test_lengths_beyond_the_model_or_below_the_special_tokens_are_refused(encoder):
    with pytest.raises(ModelError, match=r"got 129; allowed: at most 128, the positions of the model"):
        encode(encoder, max_length=129)
    with pytest.raises(ModelError, match="at least 3"):
        encode(encoder, max_length=2)


def test_a_token_beyond_the_table_is_refused(encoder):
    with pytest.raises(ModelError, match="below 100"):
        encode(TextEncoder(encoder.tokenizer, vocabulary=100))


def test_texts_and_targets_must_match(encoder):
    with pytest.raises(ValueError, match="1 texts and 2 targets"):
        encoder.encode(["a"], np.zeros(2), 8)


def test_the_fingerprint_follows_the_tokenizer_and_not_the_calls(encoder):
    before = encoder.fingerprint
    encode(encoder)
    assert TextEncoder(encoder.tokenizer, 259, 128, segments=True).fingerprint == before
    other = copy_tokenizer(encoder.tokenizer)
    other.add_tokens(["word"])
    assert TextEncoder(other, 260, 128, segments=True).fingerprint != before
    assert TextEncoder(encoder.tokenizer, 259, 128, segments=False).fingerprint != before


def test_a_copy_neither_cuts_nor_pads():
    tokenizer = make_byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16, pad_id=1, pad_token="[PAD]")
    assert len(copy_tokenizer(tokenizer).encode("abcdef").ids) == 8
    assert len(tokenizer.encode("abcdef").ids) == 16
