"""Pieces of a completion: whole characters, and the text that decoding all at once gives."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.speaking import Speaker
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.decoding import DecodingSpec
from whichtune.study.generating import Unrolling, Wish, as_written, stream_text, write_texts

TEXTS = ["plain", "né à Köln", "日本 and 😀!", "a\ufffdb", "e\u0301 👩‍👩‍👧"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_holds_half_a_character(text):
    tokenizer = make_byte_tokenizer()
    encode = tokenizer.encode
    unrolling = Unrolling(tokenizer.decode, encode("before ").ids)
    tokens = encode(text, add_special_tokens=False).ids
    assert len(tokens) == len(text.encode()), "each token is a byte, so characters are split over tokens"
    pieces = [unrolling.add(token) for token in tokens]
    last = unrolling.finish()
    assert "".join([*pieces, last]) == text == unrolling.text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)
        assert last == ""


def test_bytes_that_are_no_text_are_shown_at_the_end():
    tokenizer = make_byte_tokenizer()
    half = tokenizer.encode("é", add_special_tokens=False).ids[:1]
    unrolling = Unrolling(tokenizer.decode, [])
    assert (unrolling.add(half[0]), unrolling.finish()) == ("", "\ufffd")


def test_the_space_between_prompt_and_completion_is_kept():
    tokenizer = Tokenizer(models.WordLevel({"▁old": 0, "▁friend": 1, "s": 2}, unk_token="s"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    assert tokenizer.decode([1]) == "friend", "such decoders drop the space at a beginning"
    unrolling = Unrolling(tokenizer.decode, [0])
    assert [unrolling.add(1), unrolling.add(2)] == [" friend", "s"]


def test_special_tokens_are_not_shown():
    tokenizer = make_byte_tokenizer()
    ids = tokenizer.encode("a").ids
    unrolling = Unrolling(tokenizer.decode, ids[:1])
    assert "".join(map(unrolling.add, ids)) == "a"


def test_a_stream_is_the_completion_in_pieces(tiny_backbone):
    import torch

    backbone = tiny_backbone("llama", max_position_embeddings=200)
    speaker = Speaker(backbone, Arithmetic("float32", torch.device("cpu")))
    form = as_written(backbone.encoder)
    for decoding in (DecodingSpec(max_new_tokens=20), DecodingSpec(max_new_tokens=20, temperature=1.0, top_k=50)):
        wish, pieces = Wish(decoding, seed=3), []
        (whole,) = write_texts(speaker, form, ["né à"], wish)
        streamed = stream_text(speaker, form, "né à", wish, pieces.append)
        assert "".join(pieces) == streamed.text == whole.text
        assert (streamed.tokens, streamed.ended) == (whole.tokens, whole.ended)


def test_a_stop_ends_a_completion_before_its_limit(tiny_backbone):
    import torch

    backbone = tiny_backbone("gpt", max_position_embeddings=200)
    speaker = Speaker(backbone, Arithmetic("float32", torch.device("cpu")))
    form = as_written(backbone.encoder)
    wish = Wish(DecodingSpec(max_new_tokens=30, temperature=2.0), seed=1)
    (free,) = write_texts(speaker, form, ["one"], wish)
    sign = next(letter for letter in free.text.strip()[2:] if letter.isascii() and letter.isprintable())
    stopped = type(form)(form.encode, stop=(sign,))
    (cut,) = write_texts(speaker, stopped, ["one"], wish)
    assert cut.ended
    assert cut.tokens < free.tokens == 30
    assert free.text.startswith(cut.text)
