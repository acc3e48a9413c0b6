"""A backbone without weights: its trunk built on torch's `meta` device from a configuration alone.

Its tensors have shapes and no values, so that any method can be attached to it and counted in a moment, however large
the model is. It cannot be run.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.backbone import Backbone
from whichtune.models.configs import find_shipped, list_shipped, read_shipped
from whichtune.models.efficientnet import EfficientNetConfig
from whichtune.models.families import describe_family
from whichtune.models.folder import TrunkPlan, find_trunk_class, keep_blocks, read_config
from whichtune.models.gguf import convert_gguf
from whichtune.models.gpt import read_gpt_config
from whichtune.models.language import blank_output_head
from whichtune.models.load import assemble
from whichtune.models.quiet import silence_libraries
from whichtune.models.tiny import build_random, configure_random, make_byte_tokenizer
from whichtune.models.towers import FIELDS, PAIRED, choose_tower, find_reading
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.shorthand import read_backbone_word

SHIPPED = {"minilm": "all-minilm-l6-v2", "smollm2": "smollm2-135m-instruct"}
"""Word to the shipped name it stands for."""
TWIN_BLOCKS = 2
"""Blocks of the small twin on which the anatomy of a family outside the table is found."""


def build_blank(config: Any, origin: str, kept: int | None = None, device: str = "meta") -> Backbone:
    """Build the backbone of a `transformers` configuration without weights, cut to its first blocks if asked.

    The parts of a family that the table does not name are found on a twin of two blocks, which has weights. On any
    other device than `meta` the tensors have random values.
    """
    with silence_libraries():
        plan = TrunkPlan(deepcopy(config), "float32", "sdpa")
        keep_blocks(plan, kept)
        if describe_family(plan.plain) is not None:
            return _assemble(plan, device, origin)
        twin = TrunkPlan(deepcopy(plan.config), "float32", "sdpa")
        keep_blocks(twin, min(TWIN_BLOCKS, twin.config.num_hidden_layers))
        found = _assemble(twin, "cpu", origin)
        return replace(found, trunk=_build(plan, device), config=plan.plain, notes=tuple(plan.notes))


def find_config(word: str) -> tuple[Any, str]:
    """Return the configuration a word stands for, and where it is from; no weights are read or fetched.

    A word is a shipped name, `minilm`, `smollm2`, a folder or GGUF file, `random:` and a family, `gpt:` and a GPT-2, or
    a name on the hub. Of a model with two towers `:text` at its end names that of texts; without, it is that of images.
    """
    with silence_libraries():
        whole, tower = _split_tower(word)
        config, origin = _find_whole(whole)
        if config.model_type not in PAIRED:
            return (config, origin) if tower is None else _find_whole(word)
        return choose_tower(config, tower or "image"), f"{origin}, its tower of {tower or 'image'}s"


def _split_tower(word: str) -> tuple[str, str | None]:
    """Split `clip-vit-base-patch32:text` into the model and its tower; None where no tower is named."""
    whole, _, tower = word.rpartition(":")
    return (whole, tower) if whole and tower in FIELDS else (word, None)


def _find_whole(word: str) -> tuple[Any, str]:
    """Return the configuration of a whole model and where it is from."""
    shipped = _find_shipped(word)
    if shipped is not None:
        return shipped[1], f"configuration of {shipped[0]}, shipped with whichtune"
    if word == EfficientNetConfig.model_type:
        return EfficientNetConfig(), f"the sizes of {word}, written in whichtune"
    return _find_told(word)


def _find_told(word: str) -> tuple[Any, str]:
    """Return the configuration of a word for a backbone that is not shipped."""
    spec = read_backbone_word(word)
    if spec["kind"] == "random":
        return configure_random(RandomBackbone.model_validate(spec)), f"tiny random {spec['family']}"
    if spec["kind"] == "gpt":
        config, origin = find_config(word.removeprefix("gpt:"))
        return read_gpt_config(config.to_dict()), f"{origin}, as the GPT-2 written in whichtune"
    if spec["kind"] == "gguf":
        return read_config(convert_gguf(Path(spec["path"]))), f"file {spec['path']}"
    if spec["kind"] == "folder":
        return read_config(Path(spec["path"])), f"folder {spec['path']}"
    return _fetch_config(spec["name"], spec["revision"])


def _assemble(plan: TrunkPlan, device: str, origin: str) -> Backbone:
    from transformers import PreTrainedTokenizerFast

    texts = find_reading(plan.plain) == "text"
    source = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer()) if texts else None
    output = blank_output_head(plan.plain)
    return assemble(_build(plan, device), plan, source, fingerprint="no weights", origin=origin, output=output)


def _build(plan: TrunkPlan, device: str) -> Any:
    kind = find_trunk_class(plan.config)
    with torch.device(device):
        return build_random(kind, plan.config, 0, plan.options(kind)).eval()


def _find_shipped(word: str) -> tuple[str, Any] | None:
    """Return a shipped configuration by its name, with its owner or without; any other name is one on the hub."""
    wanted = SHIPPED.get(word, word.lower())
    if Path(word).expanduser().is_dir():
        return None
    name = find_shipped(wanted)
    return None if name is None else (name, _make_config(read_shipped(name)))


def _make_config(told: Any) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[told["model_type"]].from_dict(dict(told))


def _fetch_config(name: str, revision: str | None) -> tuple[Any, str]:
    """Fetch `config.json` of a hub model, and nothing else."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        path = Path(hf_hub_download(name, "config.json", revision=revision))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise ModelError(
            f"{name}: its config.json cannot be fetched from the hub ({type(error).__name__}: {why})",
            allowed=f"without the hub: {', '.join(list_shipped())}, `minilm`, a model folder, `random:bert`",
            remedy=f"{_suggest(name)} check name and network (`whichtune doctor`)".strip(),
        ) from error
    return read_config(path.parent), f"hub {name} at commit {path.parent.name}"


def _suggest(name: str) -> str:
    """Name the shipped models that begin so, or else are spelled alike."""
    short = {one.lower(): one for one in list_shipped()}
    word = name.rpartition("/")[2].lower()
    begun = [one for lower, one in short.items() if word and lower.startswith(word)][:3]
    return f"did you mean {' or '.join(map(repr, begun))}?" if begun else did_you_mean(word, short)
