"""How a model's images are made: the settings of its own processor, applied with Pillow.

The processors of `transformers` size and crop first and scale last. The first part is done once and kept as bytes; the
scaling is done a batch at a time (`Scaling`). Both are proved against the whole processor on images drawn here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from whichtune.errors import ModelError
from whichtune.models.anatomy import Config
from whichtune.models.image_batch import Scaling
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.quiet import silence_libraries
from whichtune.spec.digest import digest

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a model folder says how its images are made."""
BESIDE = frozenset({"processor_class", "_processor_class", "name_or_path", "auto_map", "feature_extractor_type"})
"""Fields of those files that decide no number."""
PROBES = ((61, 97), (97, 61))
"""Sizes of the images a processor is proved on: a tall one and a wide one."""
TOLERANCE = 1e-5
IMAGENET: Mapping[str, Any] = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PUBLISHED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("ViTImageProcessor", {"resample": 2}),
    "deit": ("DeiTImageProcessor", {"resample": 3, "larger": 256 / 224, **IMAGENET}),
    "dinov2": ("BitImageProcessor", {"resample": 3, "larger": 256 / 224, **IMAGENET}),
    "swin": ("ViTImageProcessor", {"resample": 3, **IMAGENET}),
    "convnext": ("ConvNextImageProcessor", {"resample": 3, "crop_pct": 0.875, **IMAGENET}),
    "resnet": ("ConvNextImageProcessor", {"resample": 3, "crop_pct": 0.875, **IMAGENET}),
    "clip_vision_model": ("CLIPImageProcessor", {}),
    "siglip_vision_model": ("SiglipImageProcessor", {}),
    "efficientnet-lite0": ("BitImageProcessor", {"resample": 3, "larger": 256 / 224, "image_mean": [0.5] * 3,
                                                 "image_std": [0.5] * 3}),
}  # fmt: skip
"""Family to the processor that its models are published with: its class, and the settings in which it differs from
that class's own. `larger` is the size before the crop, as a multiple of the crop."""
CROPPED = ("BitImageProcessor", "CLIPImageProcessor", "DeiTImageProcessor")
EDGED = ("BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor")
"""Classes that size the shorter side and leave the ratio of sides."""


def find_processor(folder: Path, config: Config, notes: list[str]) -> Any:
    """Return the processor of a model folder, or else the one of its family, with a note that says so."""
    if any((folder / name).is_file() for name in FILES):
        return _read_processor(folder)
    processor = default_processor(config)
    family = config["model_type"]
    notes.append(f"no {FILES[0]}: images are made as for the published models of the family {family}")
    return processor


def default_processor(config: Config) -> Any:
    """Make the processor that models of the family are published with, for images of the configuration's size."""
    family = str(config.get("model_type"))
    if family not in PUBLISHED:
        remedy = f"save it there with the processor's `save_pretrained`; known without: {', '.join(PUBLISHED)}"
        raise ModelError(f"{family}: no preprocessor_config.json says how images are made", remedy=remedy)
    kind, told = PUBLISHED[family]
    return make_processor(kind, _read_side(config), told)


def plain_processor(config: Config) -> Any:
    """Make the processor of a random model: sized to the configuration's side, scaled to -1..1."""
    return make_processor("ViTImageProcessor", _read_side(config), {})


def make_processor(kind: str, side: int, told: Mapping[str, Any]) -> Any:
    """Make a processor of a class of `transformers` for images of a side."""
    settings = dict(told)
    large = round(side * settings.pop("larger", 1))
    settings["size"] = {"shortest_edge": large} if kind in EDGED else {"height": large, "width": large}
    if kind in CROPPED:
        settings["crop_size"] = {"height": side, "width": side}
    return _find_class(kind)(**settings)


def make_image_encoder(processor: Any, side: int | None, width: Callable[[int], int]) -> ImageEncoder:
    """Turn a processor into an encoder, and prove that it does the same.

    `side` replaces the size of the images; `width` tells how many hidden rows the trunk makes of an image of a side.
    """
    own = _find_side(processor)
    if side is not None and side != own:
        processor = resize_processor(processor, own, side)
    side = own if side is None else side
    prepare, scaling = partial(_prepare, processor), read_scaling(processor)
    _prove(processor, side, scaling)
    return ImageEncoder(prepare, side, width(side), scaling, fingerprint_processor(processor))


def resize_processor(processor: Any, own: int, side: int) -> Any:
    """Return a processor for images of another side; the size before its crop changes in the same ratio."""
    settings = deepcopy(processor.to_dict())
    for name in ("size", "crop_size"):
        sizes = settings.get(name)
        if isinstance(sizes, Mapping):
            settings[name] = {word: round(value * side / own) for word, value in sizes.items() if value is not None}
    return type(processor).from_dict(settings)


def read_scaling(processor: Any) -> Scaling:
    """Return what a processor does to bytes after sizing and cropping."""
    settings = processor.to_dict()
    factor = float(settings["rescale_factor"]) if settings.get("do_rescale") else 1.0
    if not settings.get("do_normalize"):
        return Scaling(factor, (0.0,) * 3, (1.0,) * 3)
    mean, deviation = _three(settings["image_mean"]), _three(settings["image_std"])
    if len(mean) != 3 or len(deviation) != 3:
        raise _refuse(processor, f"it has {len(mean)} means and {len(deviation)} deviations for 3 colours")
    return Scaling(factor, mean, deviation)


def fingerprint_processor(processor: Any) -> str:
    """Hash a processor's settings and the libraries that apply them."""
    told = {name: value for name, value in processor.to_dict().items() if name not in BESIDE}
    return digest(["images", told, version("pillow"), version("transformers")], 64)


def _prepare(processor: Any, image: Image.Image) -> np.ndarray:
    """Size and crop an RGB image, [3, S, S] uint8."""
    made = processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")
    return np.ascontiguousarray(made["pixel_values"][0])


def _find_side(processor: Any) -> int:
    """Return the side of the square that every image becomes, or raise where it does not."""
    try:
        shapes = {_prepare(processor, _draw(size)).shape for size in PROBES}
    except Exception as error:  # processors check their settings in their own ways
        raise _refuse(processor, f"it fails on an image ({_short(error)})") from error
    if len(shapes) != 1:
        raise _refuse(processor, f"images of other proportions come out in other shapes: {_list(shapes)}")
    (shape,) = shapes
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise _refuse(processor, f"its images have the shape {_list(shapes)}")
    return int(shape[1])


def _prove(processor: Any, side: int, scaling: Scaling) -> None:
    """Raise where sizing, cropping and scaling apart are not what the whole processor does."""
    for size in PROBES:
        image = _draw(size)
        bytes_, whole = _prepare(processor, image), processor(images=image, return_tensors="np")["pixel_values"][0]
        if bytes_.dtype != np.uint8 or bytes_.shape != (3, side, side):
            raise _refuse(processor, f"its images are {bytes_.dtype} of {_list({bytes_.shape})}, not bytes of {side}")
        ours = scaling(torch.from_numpy(bytes_)[None])[0].numpy()
        if not np.allclose(ours, whole, rtol=0, atol=TOLERANCE):
            raise _refuse(processor, "it does more to an image than to size, crop and scale it")


def _draw(size: tuple[int, int]) -> Image.Image:
    """Draw an image of noise, always the same."""
    height, width = size
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _read_processor(folder: Path) -> Any:
    """Read the Pillow form of a folder's processor; code that comes with it is never run."""
    from transformers import AutoImageProcessor

    options: dict[str, Any] = {"backend": "pil", "local_files_only": True, "trust_remote_code": False}
    try:
        with silence_libraries():
            return AutoImageProcessor.from_pretrained(str(folder), **options)
    except Exception as error:  # an unknown class, a broken file, a class without a Pillow form
        remedy = "fetch the model again, or correct its preprocessor_config.json"
        raise ModelError(f"{folder}: no usable image processor ({_short(error)})", remedy=remedy) from error


def _find_class(kind: str) -> Any:
    """Return the Pillow form of a processor class of `transformers`."""
    import transformers

    return getattr(transformers, f"{kind}Pil")


def _read_side(config: Config) -> int:
    """Return the side a configuration names, or the one most models were trained on."""
    told = config.get("image_size", 224)
    return int(told[0] if isinstance(told, list | tuple) else told)


def _three(told: Any) -> tuple[float, ...]:
    values = told if isinstance(told, list | tuple) else [told] * 3
    return tuple(float(value) for value in values)


def _refuse(processor: Any, why: str) -> ModelError:
    name = type(processor).__name__.removesuffix("Pil")
    allowed = "processors that end in a square of one size in three colours"
    return ModelError(f"the image processor {name} cannot be used: {why}", allowed=allowed)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _list(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
