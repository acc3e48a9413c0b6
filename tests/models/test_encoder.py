"""Texts to ids: against the tokenizer called by hand, and the limits."""

from dataclasses import replace

import numpy as np
import pytest
from tokenizers import pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    DebertaV2TokenizerFast,
    DistilBertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    XLMRobertaTokenizerFast,
)

from whichtune.errors import ModelError
from whichtune.models import encoder as module
from whichtune.models.chat import ChatForm
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


WORDS = ["a", "boy", "##s", "runs", "over", "the", "long", "hill", "no", "one", "sleeps", ".", "?", "and"]
FIRST = ["a boy runs over the long hill .", "the hill ?", "a boy", "boys and boys and the boys run over", "no one"]
SECOND = ["no one sleeps", "a boy runs over the long hill and the long hill .", "boys", "the hill and the hill", "a"]


def bert_layout():
    vocab = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    return BertTokenizerFast(vocab=vocab), True


def roberta_layout():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "th", "the", "ll"]
    vocab = {word: place for place, word in enumerate(words)}
    return RobertaTokenizerFast(vocab=vocab, merges=[("t", "h"), ("th", "e"), ("l", "l")]), False


def xlm_roberta_layout():
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece, -float(place)) for place, piece in enumerate([*"abcdefghilmnoprstuvy.?▁", "▁the", "▁boy"], 1)]
    return XLMRobertaTokenizerFast(vocab=vocab), False


def deberta_layout():
    vocab = [("[PAD]", 0.0), ("[UNK]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0)]
    vocab += [(piece, -float(place)) for place, piece in enumerate([*"abcdefghilmnoprstuvy.?▁", "▁the", "▁boy"], 1)]
    return DebertaV2TokenizerFast(vocab=vocab), False


def distilbert_layout():
    return DistilBertTokenizerFast(vocab=bert_layout()[0].get_vocab()), False


LAYOUTS = [bert_layout, roberta_layout, xlm_roberta_layout, deberta_layout, distilbert_layout]


@pytest.mark.parametrize("max_length", [7, 8, 11, 16, 64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_equal_the_families_own_tokenizers(layout, max_length):
    whole, segments = layout()
    encoder = TextEncoder(copy_tokenizer(whole.backend_tokenizer), len(whole), 128, segments=segments)
    options = {"truncation": "longest_first", "max_length": max_length, "return_token_type_ids": True}
    expected = whole(FIRST, SECOND, **options)
    encoded = encoder.encode(FIRST, np.arange(5), max_length, SECOND)
    assert [encoded.row(index).tolist() for index in range(5)] == expected["input_ids"]
    if segments:
        assert encoded.segments.tolist() == [kind for row in expected["token_type_ids"] for kind in row]
        assert set(encoded.segments.tolist()) == {0, 1}
    else:
        assert encoded.segments is None
    lengths = [len(row) for row in whole(FIRST, SECOND)["input_ids"]]
    assert encoded.over_long == tuple(place for place, length in enumerate(lengths) if length > max_length)


def test_templates_of_pairs_are_those_of_the_papers():
    bert, roberta = bert_layout()[0], roberta_layout()[0]
    rows = {}
    for name, whole in (("bert", bert), ("roberta", roberta)):
        encoder = TextEncoder(copy_tokenizer(whole.backend_tokenizer), len(whole))
        rows[name] = whole.convert_ids_to_tokens(encoder.encode(["the"], np.zeros(1), 16, ["a"]).row(0).tolist())
    assert rows["bert"] == ["[CLS]", "the", "[SEP]", "a", "[SEP]"]
    assert rows["roberta"] == ["<s>", "the", "</s>", "</s>", "a", "</s>"]


def test_the_longer_text_is_cut_first(encoder):
    row = encoder.encode(["abcdefgh"], np.zeros(1), 9, ["xy"]).row(0).tolist()
    assert encoder.tokenizer.decode(row, skip_special_tokens=False).replace(" ", "") == "[CLS]abcd[SEP]xy[SEP]"


def test_pairs_need_room_a_boundary_and_partners(encoder):
    with pytest.raises(ModelError, match="at least 5: the tokenizer adds 3 special tokens to each pair"):
        encoder.encode(["a"], np.zeros(1), 4, ["b"])
    with pytest.raises(ValueError, match="2 texts, 1 second texts and 2 targets"):
        encoder.encode(["a", "b"], np.zeros(2), 8, ["c"])


@pytest.mark.parametrize("around", [processors.ByteLevel(), None])
def test_a_line_break_stands_between_texts_where_the_tokenizer_has_no_form_for_two(encoder, around):
    bare = copy_tokenizer(encoder.tokenizer)
    bare.post_processor = around or processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=[("[CLS]", 0)]
    )
    reader = TextEncoder(bare, 259, segments=True)
    encoded = reader.encode(["abcdefgh", "a"], np.zeros(2), 7, ["xy", "b"])
    front = [] if around else [0]
    rows = [bare.encode(text, add_special_tokens=False).ids for text in ("abcd\nxy" if around else "abc\nxy", "a\nb")]
    assert [encoded.row(place).tolist() for place in range(2)] == [front + row for row in rows]
    assert encoded.over_long == (0,)
    assert bare.post_processor.__class__ is (around or processors.TemplateProcessing("$A", "$A $B", [])).__class__


def test_chunks_of_pairs_change_nothing(monkeypatch):
    whole, _ = bert_layout()
    encoder = TextEncoder(copy_tokenizer(whole.backend_tokenizer), len(whole), segments=True)
    one = encoder.encode(FIRST, np.arange(5), 12, SECOND)
    monkeypatch.setattr(module, "CHUNK_TEXTS", 2)
    other = encoder.encode(FIRST, np.arange(5), 12, SECOND)
    assert np.array_equal(one.tokens, other.tokens)
    assert np.array_equal(one.segments, other.segments)
    assert one.over_long == other.over_long


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


def test_how_a_prompt_is_put_and_ended_is_known_beside_the_ids(encoder):
    form = ChatForm("{{ messages[0]['content'] }}")
    others = [
        replace(encoder, ends=(2,)),
        replace(encoder, chat=form),
        replace(encoder, chat=replace(form, tokens=(("a", "b"),))),
    ]
    assert len({one.manners for one in (encoder, *others)}) == 4
    assert {one.fingerprint for one in others} == {encoder.fingerprint}
