"""Which model of a folder reads what the task gives: one tower of two, or the only one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from whichtune.errors import ModelError, ReadingError
from whichtune.models.anatomy import Config
from whichtune.models.families import describe_family
from whichtune.models.families.patches import read_side
from whichtune.models.image_processor import PUBLISHED
from whichtune.models.shared_space import SharedSpace
from whichtune.models.weights import WeightFiles, read_tensors

Reading = Literal["text", "image"]
PAIRED = frozenset({"clip", "siglip"})
"""Families whose configuration holds that of a tower for images and that of one for texts."""
FIELDS: Mapping[str, str] = {"image": "vision_config", "text": "text_config"}
PROJECTED: Mapping[str, str] = {
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "clip_text_model": "CLIPTextModelWithProjection",
    "siglip_text_model": "SiglipTextModel",
}
"""Towers whose map into the shared space stands beside them, to the class that has both."""
SCALE, BIAS = "logit_scale", "logit_bias"
OTHERS: Mapping[str, tuple[str, ...]] = {
    "clip_vision_model": ("text_model.", "text_projection.", SCALE),
    "clip_text_model": ("vision_model.", "visual_projection.", SCALE),
    "siglip_vision_model": ("text_model.", SCALE, BIAS),
    "siglip_text_model": ("vision_model.", SCALE, BIAS),
}
"""Tower to the front of the names that belong to the other one or to both."""
GIVEN: Mapping[str, str] = {"text": "texts", "image": "images", "pair": "images with texts"}
REMEDY: Mapping[str, str] = {
    "text": "choose a language model such as `minilm`",
    "image": "choose a model that reads images, such as `dinov2-small`",
    "pair": "put it beside an encoder of the other kind in a backbone of `kind: pair`",
}


def choose_tower(config: Any, reads: str) -> Any:
    """Return the configuration of the tower that reads what the task gives; any other configuration as it is."""
    if config.model_type not in PAIRED:
        return config
    if reads not in FIELDS:
        raise _refuse(config.model_type, "images or texts, one at a time", reads)
    tower = deepcopy(getattr(config, FIELDS[reads]))
    if config.model_type == "clip":  # the whole model takes the width of the shared space from its own field
        tower.projection_dim = config.projection_dim
    return tower


def require_reading(thing: str, told: Reading, reads: str) -> None:
    """Raise a `ModelError` where a model does not read what the task gives."""
    if told != reads:
        raise _refuse(thing, GIVEN[told], reads)


def find_reading(config: Config) -> Reading:
    """Return what a model reads; one that the table does not know must be one for texts."""
    anatomy = describe_family(config)
    if anatomy is not None:
        return anatomy.reads
    if "num_channels" in config and "max_position_embeddings" not in config:
        allowed = ", ".join(sorted({*PUBLISHED, *PAIRED}))
        raise ModelError("family of a model that reads images", value=config.get("model_type"), allowed=allowed)
    return "text"


def find_tower_class(model_type: str) -> Any:
    """Return the class that has a tower and its map into the shared space, or None for every other model."""
    import transformers

    name = PROJECTED.get(model_type)
    return None if name is None else getattr(transformers, name)


def belongs_elsewhere(model_type: str, tensor: str) -> bool:
    """Whether a tensor of a file belongs to the other tower or to both."""
    return tensor.startswith(OTHERS.get(model_type, ()))


def read_shared_space(weights: WeightFiles, model_type: str) -> SharedSpace | None:
    """Read the learned similarity of a checkpoint that holds both towers; None where there is none."""
    if model_type not in OTHERS:
        return None
    found = read_tensors(weights, (SCALE, BIAS))
    if SCALE not in found:
        return None
    bias = found.get(BIAS)
    return SharedSpace(math.exp(float(found[SCALE])), 0.0 if bias is None else float(bias))


def draw_shared_space(model_type: str) -> SharedSpace | None:
    """Return the similarity that training begins with (1 / 0.07 for CLIP, 10 and -10 for SigLIP)."""
    if model_type not in OTHERS:
        return None
    return SharedSpace(1 / 0.07) if model_type.startswith("clip") else SharedSpace(10.0, -10.0)


def require_side(config: Config, side: int | None) -> None:
    """Raise where images of a side that was asked for leave a rest that no patch looks at."""
    anatomy = describe_family(config)
    if side is None or anatomy is None or anatomy.form != "rows" or "patch_size" not in config:
        return
    patch = read_side(config, "patch_size")
    if side % patch:
        below = side // patch * patch
        near = f"the nearest are {below} and {below + patch}" if below else f"the nearest is {patch}"
        allowed = f"a multiple of {patch}, the side of a patch of {anatomy.family}"
        raise ModelError("image_size", value=side, allowed=allowed, remedy=near)


def _refuse(family: str, told: str, reads: str) -> ReadingError:
    return ReadingError(f"the backbone {family} reads {told}, and the task gives {GIVEN[reads]}", remedy=REMEDY[reads])
