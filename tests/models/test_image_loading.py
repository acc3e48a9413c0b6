"""Image models from folders that `transformers` wrote: towers, sizes, and what is refused before weights are read."""

import fnmatch
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    ConvNextConfig,
    DeiTConfig,
    Dinov2Config,
    PreTrainedTokenizerFast,
    ResNetConfig,
    SiglipConfig,
    SiglipModel,
    SwinConfig,
    ViTConfig,
)

from whichtune.errors import ModelError
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.image_batch import ImageBatch
from whichtune.models.layout import layout_of
from whichtune.models.load import BESIDE_WEIGHTS, load_backbone
from whichtune.models.tiny import make_byte_tokenizer
from whichtune.spec.backbones import (
    DinoV2SmallBackbone,
    EfficientNetLite0Backbone,
    FolderBackbone,
    HubBackbone,
    MiniLMBackbone,
    RandomBackbone,
)

ROWS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
IMAGE = {"image_size": 32, "patch_size": 8}
TEXT = ROWS | {"vocab_size": 259, "max_position_embeddings": 16, "eos_token_id": 2, "pad_token_id": 1}
CONFIGS = {
    "vit": ViTConfig(**ROWS, **IMAGE),
    "deit": DeiTConfig(**ROWS, **IMAGE),
    "dinov2": Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, **IMAGE),
    "swin": SwinConfig(**IMAGE | {"patch_size": 2}, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
    "convnext": ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], image_size=32),
    "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
}
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHTUNE_CACHE", str(tmp_path / "cache"))


def save(folder, model, processor=PROCESSOR):
    model.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def load(folder, reads="image", **fields):
    return load_backbone(FolderBackbone(kind="folder", path=folder, **fields), LoadRequest(reads=reads))


def batch_of(backbone, count=3):
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(count)]
    made = torch.from_numpy(np.stack([backbone.reader.prepare(one) for one in images]))
    layout = layout_of(torch.full((count,), backbone.reader.width, dtype=torch.int64))
    return ImageBatch(np.arange(count), backbone.reader.scaling(made), torch.zeros(count, dtype=torch.int64), layout)


def rows_of(backbone, batch):
    with torch.no_grad():
        return backbone.run(backbone.embed(batch), batch.layout)


@pytest.fixture(params=CONFIGS)
def saved(request, tmp_path):
    torch.manual_seed(0)
    return request.param, save(tmp_path / request.param, AutoModel.from_config(CONFIGS[request.param]))


def test_a_folder_gives_the_rows_of_the_class_it_was_saved_from(saved):
    family, folder = saved
    loaded = load(folder)
    theirs = AutoModel.from_pretrained(str(folder)).eval()
    batch = batch_of(loaded)
    with torch.no_grad():
        expected = theirs(batch.pixels).last_hidden_state
    rows = rows_of(loaded, batch)
    expected = expected.flatten(2).transpose(1, 2) if expected.ndim == 4 else expected
    assert rows.shape[1] == loaded.reader.width
    assert (rows - expected).abs().max() < 1e-6, family
    assert loaded.anatomy.reads == "image"
    assert not any("eager" in note for note in loaded.notes)
    assert not loaded.trunk.training
    assert getattr(loaded.trunk, "pooler", None) is None or family not in ("vit", "deit", "swin")


def test_images_of_another_size_run(saved):
    _, folder = saved
    loaded = load(folder, image_size=64)
    assert loaded.reader.side == 64
    assert rows_of(loaded, batch_of(loaded)).shape[1] == loaded.reader.width > load(folder).reader.width
    assert loaded.fingerprint == load(folder).fingerprint
    assert loaded.reader.fingerprint != load(folder).reader.fingerprint


def test_a_text_task_is_refused_before_the_weights_are_read(saved):
    family, folder = saved
    (folder / "model.safetensors").write_text("torn")
    with pytest.raises(ModelError, match=rf"\({family}\) reads images, and the task gives texts; choose a language"):
        load(folder, "text")


def make_clip():
    torch.manual_seed(0)
    vision = ROWS | IMAGE
    model = CLIPModel(CLIPConfig(text_config=dict(TEXT), vision_config=vision, projection_dim=24))
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
    return model.eval()


def make_siglip():
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=dict(TEXT), vision_config=ROWS | IMAGE))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-7.5)
    return model.eval()


@pytest.fixture(params=["clip", "siglip"])
def towers(request, tmp_path):
    model = make_clip() if request.param == "clip" else make_siglip()
    folder = save(tmp_path / request.param, model)
    PreTrainedTokenizerFast(
        tokenizer_object=make_byte_tokenizer(), cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    ).save_pretrained(folder)
    return request.param, folder, model


def test_the_task_chooses_the_tower(towers):
    name, folder, model = towers
    image, text = load(folder), load(folder, "text")
    batch = batch_of(image)
    encoded = text.encoder.encode(["one", "a second"], np.zeros(2, np.int64), 16)
    asked = collate(encoded, [0, 1])
    with torch.no_grad():
        features = image.pool(rows_of(image, batch), batch.layout)
        expected = model.get_image_features(pixel_values=batch.pixels)
        expected = getattr(expected, "pooler_output", expected)
        hidden = text.run(text.embed(asked), asked.layout)
        theirs = model.text_model(input_ids=asked.ids, attention_mask=asked.layout.real.long()).last_hidden_state
    assert (features - expected).abs().max() < 1e-5
    assert (hidden - theirs)[asked.layout.real].abs().max() < 1e-5
    assert image.notes == text.notes == ()
    assert image.fingerprint != text.fingerprint
    assert text.output is None
    assert image.shared == text.shared
    wanted = (np.exp(3.0), 0.0) if name == "clip" else (np.exp(2.0), -7.5)
    assert (image.shared.scale, image.shared.bias) == pytest.approx(wanted, rel=1e-6)
    assert load(folder, keep_blocks=1).notes == ("kept the first 1 of 2 blocks",)


def test_a_folder_without_the_tower_asked_for_says_which_tensors_it_lacks(towers):
    _, folder, _ = towers
    tensors = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if not name.startswith(("vision_model.", "visual_"))}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder, "text").anatomy.reads == "text"
    with pytest.raises(ModelError, match=r"the weights lack tensors of the trunk: .*embeddings"):
        load(folder)


@pytest.mark.parametrize("kind", [CLIPVisionModelWithProjection, CLIPTextModelWithProjection])
def test_a_tower_saved_alone_is_read(tmp_path, kind):
    whole = make_clip()
    side = "image" if "Vision" in kind.__name__ else "text"
    config = whole.config.vision_config if side == "image" else whole.config.text_config
    config.projection_dim = 24
    folder = save(tmp_path / "tower", kind(config))
    PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer()).save_pretrained(folder)
    loaded = load(folder, side)
    assert (loaded.anatomy.reads, loaded.shared) == (side, None)
    given, reads = ("texts", "images") if side == "image" else ("images", "texts")
    with pytest.raises(ModelError, match=f"reads {reads}, and the task gives {given}"):
        load(folder, "text" if side == "image" else "image")


@pytest.mark.parametrize(
    ("spec", "reads", "said"),
    [
        (
            MiniLMBackbone(kind="minilm"),
            "image",
            "`minilm` reads texts, and the task gives images; choose a model that",
        ),
        (DinoV2SmallBackbone(kind="dinov2-small"), "text", "`dinov2-small` reads images, and the task gives texts"),
        (EfficientNetLite0Backbone(kind="efficientnet-lite0"), "text", "reads images, and the task gives texts"),
        (RandomBackbone(kind="random", family="bert"), "image", "random bert reads texts, and the task gives images"),
        (RandomBackbone(kind="random", family="vit"), "text", "random vit reads images, and the task gives texts"),
    ],
)
def test_a_backbone_that_cannot_read_the_task_is_refused_unfetched(spec, reads, said, monkeypatch):
    from whichtune.models import load as module

    monkeypatch.setattr(module, "fetch_member", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ModelError, match=said):
        load_backbone(spec, LoadRequest(reads=reads))


def test_sizes_that_leave_a_rest_and_blocks_that_cannot_be_cut_are_refused(saved):
    family, folder = saved
    if family in ("vit", "deit", "dinov2"):
        with pytest.raises(ModelError, match=r"image_size: got 50; allowed: a multiple of 8.*nearest are 48 and 56"):
            load(folder, image_size=50)
        assert load(folder, keep_blocks=1).notes[0] == "kept the first 1 of 2 blocks"
    else:
        with pytest.raises(ModelError, match=f"keep_blocks: got 1; leave it out: the stages of {family}"):
            load(folder, keep_blocks=1)


def test_a_folder_without_processor_is_noted_and_an_unknown_image_family_named(tmp_path):
    torch.manual_seed(0)
    folder = save(tmp_path / "vit", AutoModel.from_config(CONFIGS["vit"]), None)
    processor, pooler = load(folder).notes
    assert processor == "no preprocessor_config.json: images are made as for the published models of the family vit"
    assert pooler.startswith("2 tensors of the file are not part of the trunk: pooler.")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "beit"}))
    with pytest.raises(ModelError, match=r"family of a model that reads images: got 'beit'; allowed: clip, "):
        load(folder)


@pytest.mark.parametrize("family", ["vit", "resnet", "clip", "siglip"])
def test_random_image_backbones_have_a_plain_processor(family):
    loaded = load_backbone(RandomBackbone(kind="random", family=family), LoadRequest(reads="image"))
    assert loaded.reader.scaling.mean == (0.5, 0.5, 0.5)
    assert rows_of(loaded, batch_of(loaded)).shape[1:] == (loaded.reader.width, loaded.hidden)
    if family in ("clip", "siglip"):
        text = load_backbone(RandomBackbone(kind="random", family=family), LoadRequest())
        assert text.fingerprint != loaded.fingerprint
        assert text.shared == loaded.shared is not None


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A hub cache that holds an image model as `someone/vit`, with no network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--someone--vit"
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in ("refs", "snapshots"):
        (place / name).mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    torch.manual_seed(0)
    return save(place / "snapshots" / commit, AutoModel.from_config(CONFIGS["vit"]))


def test_an_image_model_of_the_hub_comes_with_its_processor(hub_cache):
    loaded = load_backbone(HubBackbone(kind="hub", name="someone/vit"), LoadRequest(reads="image"))
    assert loaded.origin == f"hub someone/vit at commit {hub_cache.name}"
    assert not any("preprocessor_config" in note for note in loaded.notes)
    assert fnmatch.filter(BESIDE_WEIGHTS, "preprocessor_config.json")
    assert fnmatch.filter(BESIDE_WEIGHTS, "processor_config.json")


@pytest.mark.parametrize("family", ["vit", "convnext", "resnet"])
def test_half_width_weights_read_images_too(tmp_path, family):
    torch.manual_seed(0)
    folder = save(tmp_path / family, AutoModel.from_config(CONFIGS[family]))
    loaded = load(folder, dtype="bfloat16")
    assert rows_of(loaded, batch_of(loaded)).dtype == torch.bfloat16


def test_loading_images_is_silent_and_leaves_the_random_state(tmp_path, capfd):
    folder = save(tmp_path / "vit", AutoModel.from_config(CONFIGS["vit"]))
    capfd.readouterr()
    state = torch.get_rng_state()
    load(folder)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_tokenizer_whose_class_needs_another_library_is_read_from_its_file(tmp_path):
    words = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer(), pad_token="[PAD]", eos_token="[SEP]")
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=ROWS | IMAGE))
    folder = save(tmp_path / "siglip", model)
    words.save_pretrained(folder)
    told = json.loads((folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": "SiglipTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    reader = load(folder, "text").encoder
    assert (reader.fill.width, reader.fill.token) == (16, 1)
    assert reader.tokenizer.encode("a cat").ids == words("a cat")["input_ids"]
