"""Embeddings of images: against the library's own forward, one by one and in batches; and their key."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from whichtune.engine import embedding
from whichtune.engine.embedding import How, cut_batches, embed_pictures, key_embeddings
from whichtune.errors import ModelError
from whichtune.fetch.pictures import inspect_picture
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone

HOW = How(max_length=0, pooling="default", normalise=False, batch_size=4)
FAMILIES = ("vit", "dinov2", "clip_vision_model", "siglip_vision_model", "swin", "convnext", "resnet")


def load(family, **request):
    size = request.pop("image_size", None)
    spec = RandomBackbone(kind="random", family=family, image_size=size)
    return load_backbone(spec, LoadRequest(reads="image", **request))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch, tmp_path):
    monkeypatch.setattr(embedding, "SHARD_ROWS", 8)
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty-one drawn images, two of which are the same."""
    folder, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    paths = [folder / f"{place:02d}.png" for place in range(21)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (int(draw.integers(20, 50)), 40, 3), dtype=np.uint8)).save(path)
    paths[7].write_bytes(paths[3].read_bytes())
    return [inspect_picture(path) for path in paths]


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_those_of_each_image_alone(family, pictures, tmp_path):
    backbone = load(family)
    found = embed_pictures(backbone, pictures, HOW, tmp_path)
    assert found.shape == (21, backbone.feature_width())
    encoded = backbone.reader.encode(pictures, np.full(21, -1))
    for place in range(21):
        batch = encoded.collate([place])
        with torch.no_grad():
            alone = backbone.pool(backbone.run(backbone.embed(batch), batch.layout), batch.layout)[0]
        assert np.abs(found[place] - alone.numpy()).max() < 1e-6 * max(1.0, float(alone.abs().max()))
    assert np.array_equal(found[3], found[7])


def test_embeddings_are_those_of_the_same_batches_bit_for_bit(pictures, tmp_path):
    backbone = load("vit")
    found = embed_pictures(backbone, pictures, HOW, tmp_path)
    whole = backbone.reader.encode(pictures, np.full(21, -1))
    distinct = whole.distinct()
    assert len(distinct) == 20
    for start in range(0, 20, 8):
        for batch in cut_batches(distinct, range(start, min(start + 8, 20)), 4):
            with torch.no_grad():
                hidden = backbone.run(backbone.embed(batch), batch.layout)
                rows = backbone.pool(hidden, batch.layout)
            for row, own in zip(batch.rows, rows.numpy(), strict=True):
                assert np.array_equal(found[np.flatnonzero(whole.places == row)[0]], own)


def test_what_was_stopped_goes_on_and_ends_in_the_same_bits(pictures, tmp_path, monkeypatch):
    backbone = load("vit")
    whole = embed_pictures(backbone, pictures, HOW, tmp_path / "whole")
    run, calls = embedding.embed_batch, []

    def stop(*parts):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*parts)

    monkeypatch.setattr(embedding, "embed_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_pictures(backbone, pictures, HOW, tmp_path / "stopped")
    assert np.array_equal(embed_pictures(backbone, pictures, HOW, tmp_path / "stopped"), whole)
    assert len(calls) == 4 + 3, "the first shard, of two batches, is not computed again"


def test_an_image_of_the_same_name_with_other_bytes_is_another(pictures, tmp_path):
    backbone = load("vit")
    path = tmp_path / "one.png"
    Image.new("RGB", (30, 30), (200, 10, 10)).save(path)
    before = embed_pictures(backbone, [inspect_picture(path)], HOW, tmp_path / "store")
    Image.new("RGB", (30, 30), (10, 10, 200)).save(path)
    after = embed_pictures(backbone, [inspect_picture(path)], HOW, tmp_path / "store")
    assert not np.array_equal(before, after)


def key_of(backbone, pictures, how=HOW):
    return key_embeddings(backbone, backbone.reader.encode(pictures, np.full(len(pictures), -1)).distinct(), how)


def test_the_key_holds_everything_that_matters(pictures):
    vit = load("vit")
    keys = {"plain": key_of(vit, pictures), "order": key_of(vit, pictures)}
    assert keys.pop("order") == key_of(load("vit"), pictures[::-1]) == keys["plain"], "the order of rows is no matter"
    keys["images"] = key_of(vit, pictures[:-1])
    keys["weights"] = key_of(replace(vit, fingerprint="other"), pictures)
    keys["dtype"] = key_of(replace(load("vit", dtype="bfloat16"), fingerprint=vit.fingerprint), pictures)
    keys["attention"] = key_of(replace(load("vit", attention="eager"), fingerprint=vit.fingerprint), pictures)
    keys["image size"] = key_of(replace(load("vit", image_size=48), fingerprint=vit.fingerprint), pictures)
    keys["processor"] = key_of(replace(vit, reader=replace(vit.reader, fingerprint="other")), pictures)
    for field, value in {"pooling": "mean", "normalise": True, "batch_size": 5, "precision": "bfloat16"}.items():
        keys[field] = key_of(vit, pictures, replace(HOW, **{field: value}))
    assert len(set(keys.values())) == len(keys)


def test_a_model_of_texts_embeds_no_images(tiny_backbone, pictures, tmp_path):
    with pytest.raises(ModelError, match="embedding of images"):
        embed_pictures(tiny_backbone("bert"), pictures, HOW, tmp_path)
