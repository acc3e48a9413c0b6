"""Embeddings as files: against the encoder itself, row by row, and what is told where they cannot be made."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from whichtune.errors import DataError, ModelError, SpecError
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.study import embedding
from whichtune.study.embedding import (
    Way,
    choose_pooling,
    embed_splits,
    open_encoder,
    require_folder,
    write_embeddings,
)
from whichtune.study.rows_to_embed import Wish, choose_rows

TEXTS = ["a bright day", "grim", "a bright day", "", "poor and dull and long", "fine"]


class Silent:
    """A watcher that counts rows."""

    def __init__(self):
        self.rows, self.splits = 0, []

    def on_split(self, split, rows, done):
        self.splits.append((split, rows, done))

    def on_rows(self, rows):
        self.rows += rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shown(tmp_path):
    """Two class folders with three images each, of which two are the same bytes; and one broken file."""
    root = tmp_path / "shown"
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for place in range(3):
            shade = (80 * place, 90 if label == "dog" else 0, 30)
            Image.new("RGB", (40, 32), shade).save(root / label / f"{place}.png")
    (root / "dog" / "2.png").write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "dog" / "3.png").write_bytes((root / "cat" / "0.png").read_bytes()[:50])
    return root


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"r{place},{text},{'yes' if place % 2 else 'no'}" for place, text in enumerate(TEXTS)]
    path.write_text("\n".join(["key,text,label", *lines]) + "\n")
    return path


def embed(wish, word, way=Way(), out="out", **more):  # noqa: B008 - frozen
    chosen = choose_rows(wish)
    backbone = open_encoder(word, chosen.reads, device="cpu", **more)
    watcher = Silent()
    parts = embed_splits(backbone, chosen, way, watcher)
    about = write_embeddings(embedding.Path(out), word, backbone, chosen, parts, way)
    rows = pq.read_table(f"{out}/rows.parquet").to_pydict()
    return np.load(f"{out}/embeddings.npy"), rows, about, watcher


def test_texts_stand_in_the_order_of_their_rows(table):
    found, rows, about, _ = embed(Wish(str(table)), "random:bert", Way(max_length=32))
    assert rows["text"] == [text for text in TEXTS if text]
    assert rows["id"] == ["all:2", "all:3", "all:4", "all:6", "all:7"]
    assert (rows["split"], rows["label"]) == (["all"] * 5, ["no", "yes", "no", "no", "yes"])
    assert about["data"]["left_out"] == {"empty": 1}
    assert (about["shape"], about["pooling"]) == ([5, found.shape[1]], "mean")
    assert about["splits"]["all"]["distinct"] == 4
    bert = load_backbone(RandomBackbone(kind="random"), LoadRequest())
    for row, text in zip(found, rows["text"], strict=True):
        batch = bert.encoder.encode([text], np.array([-1]), 32).collate([0])
        with torch.no_grad():
            hidden = bert.trunk(input_ids=batch.ids, token_type_ids=torch.zeros_like(batch.ids)).last_hidden_state
        np.testing.assert_allclose(row, hidden[0].mean(0).numpy(), atol=1e-5)
    assert found.dtype == np.float32
    assert json.loads(embedding.Path("out/embeddings.json").read_text()) == about


def test_a_normalised_row_has_length_one_and_shares_the_store(table):
    plain, *_ = embed(Wish(str(table)), "random:bert", out="plain")
    unit, _, about, watcher = embed(Wish(str(table)), "random:bert", Way(normalise=True), out="unit")
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    assert (watcher.rows, about["splits"]["all"]["state"]) == (0, "found")


def test_images_of_class_folders(shown):
    found, rows, about, watcher = embed(Wish(str(shown)), "random:vit")
    assert rows["id"] == [f"all:{label}/{place}.png" for label in ("cat", "dog") for place in range(3)]
    assert rows["label"] == ["cat"] * 3 + ["dog"] * 3
    assert rows["image"][4] == str(shown / "dog" / "1.png")
    assert rows["sha256"][0] == rows["sha256"][5]
    assert np.array_equal(found[0], found[5])
    assert watcher.rows == about["splits"]["all"]["distinct"] == 5
    assert about["data"]["left_out"] == {"broken-image": 1}
    vit = load_backbone(RandomBackbone(kind="random", family="vit"), LoadRequest(reads="image"))
    assert about["weights"] == vit.fingerprint
    pixels = Image.open(shown / "dog" / "1.png").resize((vit.reader.side,) * 2)
    scaled = (torch.tensor(np.asarray(pixels)).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
    with torch.no_grad():
        row = vit.trunk(pixel_values=scaled).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(found[4], row, atol=1e-5)


def test_a_flat_folder_a_pattern_and_a_table_of_images(shown, tmp_path):
    whole, *_ = embed(Wish(str(shown)), "random:vit")
    flat, rows, *_ = embed(Wish(str(shown / "cat")), "random:vit", out="flat")
    assert "label" not in rows
    np.testing.assert_allclose(flat, whole[:3], atol=1e-6)
    some, rows, *_ = embed(Wish(str(shown / "*" / "1.png")), "random:vit", out="some")
    assert rows["id"] == ["all:cat/1.png", "all:dog/1.png"]
    np.testing.assert_allclose(some, whole[[1, 4]], atol=1e-6)
    path = tmp_path / "pictures.csv"
    path.write_text("key,file,kind\na,shown/dog/1.png,x\nb,shown/dog/9.png,y\n")
    wish = Wish(str(path), image="file", label="kind", id="key")
    one, rows, about, _ = embed(wish, "random:vit", out="one")
    assert (rows["id"], rows["label"], about["data"]["left_out"]) == (["a"], ["x"], {"no-image-file": 1})
    np.testing.assert_allclose(one[0], whole[4], atol=1e-6)


def test_a_stopped_run_goes_on(table, monkeypatch):
    from whichtune.engine import embedding as engine

    monkeypatch.setattr(engine, "SHARD_ROWS", 2)
    whole, _, whole_about, _ = embed(Wish(str(table)), "random:bert", out="whole")
    key = whole_about["splits"]["all"]["key"]
    place = embedding.cache_root() / "embeddings" / f"{key}.npy"
    place.unlink()
    calls = []

    def stop(backbone, batch, how, own=engine.embed_batch):
        calls.append(batch)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return own(backbone, batch, how)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "embed_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            embed(Wish(str(table)), "random:bert", out="again")
    assert not embedding.Path("again/embeddings.json").exists()
    again, _, about, watcher = embed(Wish(str(table)), "random:bert", out="again")
    assert np.array_equal(again, whole)
    assert (about["splits"]["all"]["state"], watcher.rows, watcher.splits) == ("resumed", 2, [("all", 4, 2)])


def test_the_tower_is_chosen_by_what_is_read(shown, table):
    images, _, about, _ = embed(Wish(str(shown)), "random:clip", out="images")
    texts, _, other, _ = embed(Wish(str(table)), "random:clip", Way(max_length=32), out="texts")
    assert images.shape[1] == texts.shape[1]
    assert (about["pooling"], other["pooling"]) == ("default", "default")
    assert about["weights"] != other["weights"]


def test_a_built_in_source_has_splits_and_columns_of_its_own():
    chosen = choose_rows(Wish("nli-grammar", splits=("test", "train")))
    assert list(chosen.examples) == ["train", "test"]
    assert (chosen.column, {one.gold for one in chosen.examples["test"]}) == (
        "premise",
        {"entailment", "neutral", "contradiction"},
    )
    problems = choose_rows(Wish("word-problems", text="answer"))
    assert all(one.text == one.gold for rows in problems.examples.values() for one in rows)
    assert [rows[0].id for rows in problems.examples.values()] == ["train:1", "validation:1", "test:1"]


def test_splits_follow_one_another_and_long_texts_are_cut():
    found, rows, about, _ = embed(Wish("word-problems"), "random:bert", Way(max_length=16))
    assert rows["split"] == ["train"] * 20 + ["validation"] * 20 + ["test"] * 60
    assert (about["data"]["cut"], about["reader"]["max_length"], about["shape"][0]) == (100, 16, 100)
    alone, rows, other, _ = embed(Wish("word-problems", splits=("test",)), "random:bert", Way(max_length=16), out="one")
    assert np.array_equal(alone, found[40:])
    assert (set(rows["split"]), other["splits"]["test"]["state"]) == ({"test"}, "found")


def test_pooling_is_as_in_a_pair():
    for family, reads, pooling in (("bert", "text", "mean"), ("vit", "image", "default"), ("clip", "text", "default")):
        assert choose_pooling(open_encoder(f"random:{family}", reads, device="cpu")) == pooling


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (Wish("easy-vqa"), "rows may hold texts and images; name one"),
        (Wish("digits", text="text"), "--text: digits holds images alone"),
        (Wish("movie-reviews", image="image"), "--image: movie-reviews holds texts alone"),
        (Wish("rows.csv", text="text", image="image"), "one encoder reads one of them"),
        (Wish("rows.csv", text="txet"), "no column `txet`; allowed: key, text, label; did you mean 'text'"),
        (Wish("rows.csv", id="label"), "two rows have the same id: got 'no'"),
        (Wish("rows.csv", image="text"), "nothing to embed .6 no-image-file.; check the column: `--image`"),
        (Wish("rows.csv", splits=("test",)), "--split: got 'test'; allowed: all"),
        (Wish("rows.csv", image="text", image_root=embedding.Path("gone")), "--image-root: no such folder"),
        (Wish("digit"), "no such data: digit; .*did you mean 'digits'"),
        (Wish("gone.csv"), "no file gone.csv"),
        (Wish("bare.csv"), "has no column called text or image"),
        (Wish("nothing.csv"), "nothing to embed"),
        (Wish("holds"), "holds is a folder, not a file; it holds rows.csv"),
        (Wish("empty"), "no images in empty"),
    ],
)
def test_what_cannot_be_read(wish, told, table, tmp_path):
    (tmp_path / "bare.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nothing.csv").write_text("text\n")
    (tmp_path / "holds").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "holds" / "rows.csv").write_bytes(table.read_bytes())
    with pytest.raises(DataError, match=told):
        choose_rows(wish)


def test_what_cannot_be_embedded(shown, table, tmp_path):
    for word, reads, told in (
        ("random:bert", "image", "reads texts, and the task gives images"),
        ("random:vit", "text", "reads images, and the task gives texts"),
        ("a/b/c", "text", "neither a folder nor a name"),
        ("random:vit+random:bert", "image", "two encoders"),
    ):
        with pytest.raises(ModelError, match=told):
            open_encoder(word, reads)
    with pytest.raises(SpecError, match="--image-size is about images"):
        open_encoder("random:bert", "text", image_size=32)
    with pytest.raises(SpecError, match="--max-length is about texts"):
        embed(Wish(str(shown)), "random:vit", Way(max_length=8))
    with pytest.raises(DataError, match="is a file"):
        require_folder(table)
    with pytest.raises(DataError, match="holds other files"):
        require_folder(shown)
    require_folder(tmp_path / "new")
