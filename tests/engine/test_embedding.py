"""Embeddings of texts: against the library's encoder run by hand, one text at a time and in batches; and their key."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from whichtune.engine import embedding
from whichtune.engine.embedding import How, cut_batches, embed_texts, key_embeddings
from whichtune.errors import DataError, ModelError, NonFiniteError
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import MiniLMBackbone, RandomBackbone

DRAW = random.Random(3)
TEXTS = [" ".join(DRAW.choices(["fine", "dull", "a", "film", "it is"], k=DRAW.randint(1, 12))) for _ in range(21)]
HOW = How(max_length=64, batch_size=4)


@pytest.fixture(scope="module")
def bert(tiny_backbone):
    return tiny_backbone("bert")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_ROWS", 8)


def embed_by_hand(backbone, text, pooling, max_length=64):
    """The trunk called as the library calls it, on one text without padding."""
    encoder = backbone.encoder.tokenizer.encode(text)
    ids = torch.tensor([encoder.ids])[:, :max_length]
    if ids.shape[1] < len(encoder.ids):
        ids[0, -1] = encoder.ids[-1]
    with torch.no_grad():
        done = backbone.trunk(input_ids=ids)
    hidden = done.last_hidden_state[0]
    return {"mean": hidden.mean(dim=0), "first": hidden[0], "last": hidden[-1], "default": done.pooler_output[0]}[
        pooling
    ]


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "default"])
@pytest.mark.parametrize("normalise", [True, False])
def test_embeddings_are_the_encoders_one_by_one(bert, tmp_path, pooling, normalise):
    how = replace(HOW, pooling=pooling, normalise=normalise, max_length=32)
    found = embed_texts(bert, TEXTS, how, tmp_path)
    expected = torch.stack([embed_by_hand(bert, text, pooling, 32) for text in TEXTS])
    if normalise:
        expected = expected / expected.norm(dim=1, keepdim=True)
    assert any(len(bert.encoder.tokenizer.encode(text).ids) > 32 for text in TEXTS)
    assert isinstance(found, np.memmap)
    assert found.shape == (21, bert.hidden)
    scale = 1.0 if normalise else float(expected.norm(dim=1).max())
    assert np.abs(found - expected.numpy()).max() < 1e-6 * scale


def test_embeddings_are_those_of_the_same_batches_bit_for_bit(bert, tmp_path):
    found = embed_texts(bert, TEXTS, HOW, tmp_path)
    for start in range(0, 21, 8):
        encoded = bert.encoder.encode(TEXTS, np.full(len(TEXTS), -1), 64)
        for batch in cut_batches(encoded, range(start, min(start + 8, 21)), 4):
            with torch.no_grad():
                hidden = bert.run(bert.embed(batch), batch.layout, batch.segments)
                rows = torch.nn.functional.normalize(bert.pool(hidden, batch.layout, "mean"), dim=1)
            assert np.array_equal(found[batch.rows], rows.numpy())


def test_what_was_stopped_goes_on_and_ends_in_the_same_bits(bert, tmp_path, monkeypatch):
    whole = embed_texts(bert, TEXTS, HOW, tmp_path / "whole")
    run, calls = embedding.embed_batch, []

    def stop(*parts):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*parts)

    monkeypatch.setattr(embedding, "embed_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(bert, TEXTS, HOW, tmp_path / "stopped")
    assert np.array_equal(embed_texts(bert, TEXTS, HOW, tmp_path / "stopped"), whole)
    assert len(calls) == 4 + 4, "the first shard, of two batches, is not computed again"
    embed_texts(bert, TEXTS, HOW, tmp_path / "stopped")
    assert len(calls) == 8


def other_backbones(bert):
    """Each differs in one thing; what was loaded anew is given the same fingerprint of weights."""
    spec = RandomBackbone(kind="random", family="bert")
    loaded = {
        "dtype": load_backbone(spec, LoadRequest(dtype="bfloat16")),
        "unpadded": load_backbone(spec, LoadRequest(unpad=True)),
        "attention": load_backbone(spec, LoadRequest(attention="eager")),
    }
    return {name: replace(one, fingerprint=bert.fingerprint) for name, one in loaded.items()} | {
        "weights": replace(bert, fingerprint="other"),
        "tokenizer": replace(bert, reader=replace(bert.encoder, cut_side="left")),
    }


def key_of(backbone, texts, how):
    return key_embeddings(backbone, backbone.encoder.encode(texts, np.full(len(texts), -1), how.max_length), how)


def test_the_key_holds_everything_that_matters(bert, monkeypatch):
    keys = {"plain": key_of(bert, TEXTS, HOW)}
    assert keys["plain"] == key_of(bert, list(TEXTS), replace(HOW))
    for name, other in other_backbones(bert).items():
        keys[name] = key_of(other, TEXTS, HOW)
    for field, value in {"max_length": 63, "pooling": "first", "normalise": False, "batch_size": 5}.items():
        keys[field] = key_of(bert, TEXTS, replace(HOW, **{field: value}))
    keys["texts"] = key_of(bert, [*TEXTS[:-1], "other"], HOW)
    keys["order"] = key_of(bert, TEXTS[::-1], HOW)
    for name, value in {"SHARD_ROWS": 9, "EMBEDDING_VERSION": 0}.items():
        with monkeypatch.context() as patch:
            patch.setattr(embedding, name, value)
            keys[name] = key_of(bert, TEXTS, HOW)
    for package in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setattr(embedding, "read_version", lambda name, wanted=package: "0" if name == wanted else "1")
            keys[package] = key_of(bert, TEXTS, HOW)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
        keys["precision"] = key_of(bert, TEXTS, HOW)
    with monkeypatch.context() as patch:
        patch.setattr(type(bert), "device", property(lambda _: torch.device("cuda:1")))
        keys["device"] = key_of(bert, TEXTS, HOW)
    assert len(set(keys.values())) == len(keys)


def test_blocks_that_are_left_out_are_in_the_key():
    some = [
        load_backbone(RandomBackbone(kind="random", family="bert", keep_blocks=kept), LoadRequest())
        for kept in (1, None)
    ]
    assert len({key_of(one, TEXTS, HOW) for one in some}) == 2


def test_what_cannot_be_embedded_is_one_clear_error(bert, tiny_backbone, tmp_path):
    with pytest.raises(ModelError, match=r"pooling.*means.*mean"):
        How(max_length=8, pooling="means")
    with pytest.raises(ModelError, match="batch_size"):
        How(max_length=8, batch_size=0)
    with pytest.raises(ModelError, match="max_length"):
        embed_texts(bert, TEXTS, replace(HOW, max_length=9999), tmp_path)
    broken = tiny_backbone("bert")
    broken.module(broken.anatomy.tokens).weight.data[70] = float("nan")
    with pytest.raises(NonFiniteError, match="not numbers"):
        embed_texts(broken, [*TEXTS, bytes(range(32, 127)).decode()], replace(HOW, max_length=128), tmp_path / "broken")
    training = tiny_backbone("bert")
    training.trunk.train()
    with pytest.raises(ValueError, match="train mode"):
        embed_texts(training, TEXTS, HOW, tmp_path)
    bare = bert.encoder.tokenizer.from_str(bert.encoder.tokenizer.to_str())
    bare.post_processor = None
    with pytest.raises(DataError, match=r"without tokens.*''"):
        embed_texts(replace(bert, reader=replace(bert.encoder, tokenizer=bare)), ["a", ""], HOW, tmp_path)
    assert not list(tmp_path.glob("embeddings/*.npy"))
    assert not list(tmp_path.glob("broken/embeddings/*.npy"))


@pytest.mark.weights
def test_minilm_knows_what_is_alike(tmp_path):
    minilm = load_backbone(MiniLMBackbone(kind="minilm"), LoadRequest())
    texts = [
        "A man is playing a guitar.",
        "Someone plays a musical instrument.",
        "The stock market fell sharply today.",
    ]
    found = embed_texts(minilm, texts, How(max_length=128), tmp_path)
    for row, text in zip(found, texts, strict=True):
        by_hand = embed_by_hand(minilm, text, "mean", 128)
        assert np.abs(row - (by_hand / by_hand.norm()).numpy()).max() < 1e-6
    alike = found @ found.T
    assert alike[0, 1] > 0.5
    assert max(alike[0, 2], alike[1, 2]) < 0.2
