"""Processors of `transformers`, split into bytes and scaling, against what they do in one go."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from whichtune.errors import ModelError
from whichtune.models.image_processor import (
    PUBLISHED,
    default_processor,
    find_processor,
    fingerprint_processor,
    make_image_encoder,
    plain_processor,
)

VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
DINOV2 = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 56, "width": 56},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
SETTINGS = {
    "vit": VIT,
    "dinov2": DINOV2,
    "deit": {
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 36, "width": 36},
        "crop_size": {"height": 32, "width": 32},
    },
    "clip": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 48, "crop_size": 48, "resample": 3},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 48, "width": 48}},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.875},
    "warped": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "fast": {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 32, "width": 32}},
    "unscaled": VIT | {"do_normalize": False},
}


def draw(height, width, seed=1):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def read(folder, settings, family="vit"):
    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    notes = []
    processor = find_processor(folder, {"model_type": family}, notes)
    assert notes == []
    return processor


def count_patches(side):
    return (side // 8) ** 2


@pytest.mark.parametrize("name", SETTINGS)
def test_bytes_and_scaling_together_are_the_whole_processor(tmp_path, name):
    processor = read(tmp_path, SETTINGS[name])
    encoder = make_image_encoder(processor, None, count_patches)
    whole = AutoImageProcessor.from_pretrained(str(tmp_path), backend="pil", local_files_only=True)
    for size in [(90, 90), (50, 131), (400, 33)]:
        image = draw(*size)
        made = encoder.prepare(image)
        assert (made.dtype, made.shape) == (np.uint8, (3, encoder.side, encoder.side))
        expected = whole(images=image, return_tensors="np")["pixel_values"][0]
        ours = encoder.scaling(torch.from_numpy(made)[None])[0].numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    assert encoder.width == count_patches(encoder.side)


@pytest.mark.parametrize(("name", "side"), [("vit", 32), ("dinov2", 56), ("clip", 48), ("convnext", 64)])
def test_another_size_keeps_the_ratio_of_size_and_crop(tmp_path, name, side):
    processor = read(tmp_path, SETTINGS[name])
    image = draw(100, 140)
    for asked in (side * 2, side // 2):
        encoder = make_image_encoder(processor, asked, count_patches)
        assert (encoder.side, encoder.prepare(image).shape) == (asked, (3, asked, asked))
    if name == "dinov2":
        larger = {"size": {"shortest_edge": 128}, "crop_size": {"height": 112, "width": 112}}
        twice = read(tmp_path / "twice", DINOV2 | larger)
        np.testing.assert_array_equal(
            make_image_encoder(processor, 112, count_patches).prepare(image),
            make_image_encoder(twice, None, count_patches).prepare(image),
        )


def test_the_fingerprint_follows_every_setting_and_the_size(tmp_path, monkeypatch):
    first = make_image_encoder(read(tmp_path, DINOV2), None, count_patches)
    again = make_image_encoder(read(tmp_path, DINOV2), 56, count_patches)
    assert first.fingerprint == again.fingerprint
    changed = [
        {"resample": 2},
        {"size": {"shortest_edge": 60}},
        {"image_mean": [0.5, 0.456, 0.406]},
        {"rescale_factor": 1 / 127.5},
        {"do_normalize": False},
    ]
    found = {fingerprint_processor(read(tmp_path, DINOV2 | one)) for one in changed}
    found |= {make_image_encoder(read(tmp_path, DINOV2), 112, count_patches).fingerprint, first.fingerprint}
    assert len(found) == len(changed) + 2
    from whichtune.models import image_processor as module

    monkeypatch.setattr(module, "version", lambda name: f"{name} of tomorrow")
    assert make_image_encoder(read(tmp_path, DINOV2), None, count_patches).fingerprint not in found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": False},
         "other proportions come out in other shapes: 3 x 32 x 50, 3 x 50 x 32"),
        (VIT | {"size": {"height": 32, "width": 16}}, "shape 3 x 32 x 16"),
        (VIT | {"do_resize": False}, "other proportions"),
        (VIT | {"image_std": [0.5]}, "3 means and 1 deviations for 3 colours"),
        ({"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 32, "width": 32},
          "rescale_offset": True}, "float32 of 3 x 32 x 32, not bytes of 32"),
    ],
)  # fmt: skip
def test_a_processor_that_ends_in_anything_else_is_refused(tmp_path, settings, said):
    with pytest.raises(ModelError, match=said):
        make_image_encoder(read(tmp_path, settings), None, count_patches)


@pytest.mark.parametrize(
    "text",
    ["{", json.dumps({"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "x.Y"}}), '{"size": 32}'],
)
def test_an_unusable_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ModelError, match="no usable image processor"):
        find_processor(tmp_path, {"model_type": "vit"}, [])


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_folder_without_settings_has_those_of_its_family(tmp_path, family):
    notes = []
    processor = find_processor(tmp_path, {"model_type": family, "image_size": 64}, notes)
    assert len(notes) == 1
    assert family in notes[0]
    assert make_image_encoder(processor, None, count_patches).side == 64


def test_published_sizes_before_the_crop():
    dinov2 = default_processor({"model_type": "dinov2", "image_size": 224}).to_dict()
    assert (dinov2["size"], dinov2["crop_size"]) == ({"shortest_edge": 256}, {"height": 224, "width": 224})
    assert default_processor({"model_type": "resnet"}).to_dict()["size"] == {"shortest_edge": 224}
    with pytest.raises(ModelError, match=r"beit: no preprocessor_config\.json"):
        default_processor({"model_type": "beit"})


def test_a_processor_that_does_more_than_size_crop_and_scale_is_refused(tmp_path):
    processor = read(tmp_path, VIT)
    kind = type(processor)

    class Brighter(kind):
        def normalize(self, image, mean, std, **kwargs):
            return super().normalize(image, mean, std, **kwargs) + 0.1

    with pytest.raises(ModelError, match="does more to an image than to size, crop and scale it"):
        make_image_encoder(Brighter.from_dict(processor.to_dict()), None, count_patches)


def test_a_plain_processor_scales_to_one():
    encoder = make_image_encoder(plain_processor({"image_size": [16, 16]}), None, count_patches)
    assert encoder.side == 16
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert encoder.scaling(ends)[0, :, 0].tolist() == [pytest.approx([-1.0, 1.0])] * 3
