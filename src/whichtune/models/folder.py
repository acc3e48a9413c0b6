"""Read a model folder in the hub's layout: configuration, weights, tokenizer. No code of the folder ever runs."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whichtune.errors import ModelError
from whichtune.fetch.fingerprint import fingerprint_file, fingerprint_texts
from whichtune.models.anatomy import Config
from whichtune.models.efficientnet import EfficientNet, EfficientNetConfig
from whichtune.models.families import describe_family
from whichtune.models.gpt import Gpt, GptConfig, read_gpt
from whichtune.models.language import HEAD, predicts_tokens
from whichtune.models.towers import belongs_elsewhere, find_tower_class
from whichtune.models.weights import WeightFiles, read_pickled

NAMED = 8
"""Tensor names that a note or an error lists before it says how many more there are."""


@dataclass
class TrunkPlan:
    """How a trunk is to be built: its configuration and what the loading adds to it."""

    config: Any
    dtype: str
    attention: str
    total_blocks: int | None = None
    """Blocks before `keep_blocks`."""
    ends: tuple[int, ...] = ()
    """Tokens that end what is written, as `generation_config.json` lists them."""
    side: int | None = None
    """Side of the images that are asked for; the model's own when left out."""
    notes: list[str] = field(default_factory=list)

    @property
    def plain(self) -> Config:
        """The configuration as plain values."""
        return self.config.to_dict()

    def options(self, kind: type) -> dict[str, Any]:
        """Return the arguments of the trunk's constructor: attention, and no pooler that no head would read."""
        anatomy = describe_family(self.plain)
        options: dict[str, Any] = {"dtype": getattr(torch, self.dtype)}
        if anatomy is None or anatomy.reads == "text" or "query" in anatomy.projections:
            options["attn_implementation"] = self._choose_attention(kind)
        if "add_pooling_layer" in inspect.signature(kind).parameters:
            options["add_pooling_layer"] = anatomy is not None and anatomy.pooler is not None
        return options

    def _choose_attention(self, kind: type) -> str:
        if self.attention != "sdpa" or getattr(kind, "_supports_sdpa", True):
            return self.attention
        self.notes.append("this family has no sdpa attention: eager is used")
        return "eager"


def read_config(folder: Path) -> Any:
    """Read `config.json`, or raise a `ModelError` for a missing folder, a broken file or an unknown family."""
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not folder.is_dir():
        raise ModelError("model folder", value=str(folder), allowed="an existing folder", remedy="correct the path")
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:20]) or "nothing"
        raise ModelError(f"{folder}: no config.json; the folder holds {there}", remedy="give the folder of a model")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        family = told["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        why = "no `model_type`" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path}: not a model's configuration ({why})", remedy="fetch the model again") from None
    if family not in CONFIG_MAPPING:
        remedy = "a newer `transformers` may know it; code that comes with a model is never run"
        raise ModelError(f"{path}: `model_type`", value=family, allowed="a family `transformers` has", remedy=remedy)
    told.pop("quantization_config", None)
    try:
        return CONFIG_MAPPING[family].from_dict(told)
    except Exception as error:  # families check their fields in their own ways
        raise ModelError(f"{path}: refused by {family} ({' '.join(str(error).split())})") from error


def keep_blocks(plan: TrunkPlan, count: int | None) -> None:
    """Cut the configuration to its first blocks, or to the first runs of a block that is shared, and note it."""
    plan.total_blocks = getattr(plan.config, "num_hidden_layers", None)
    if count is None:
        return
    anatomy = describe_family(plan.plain)
    if anatomy is not None and anatomy.form == "maps":
        remedy = f"leave it out: the stages of {anatomy.family} shrink the image and cannot be cut"
        raise ModelError("keep_blocks", value=count, remedy=remedy)
    if plan.total_blocks is None:
        raise ModelError("keep_blocks", value=count, remedy="this family's configuration does not say how many it has")
    if count > plan.total_blocks:
        raise ModelError("keep_blocks", value=count, allowed=f"1 to {plan.total_blocks}, the blocks of the model")
    sizes = None if anatomy is None else anatomy.dimensions(plan.plain)
    shared = anatomy is not None and anatomy.runs > 1
    if shared and (sizes is None or sizes.blocks > 1):
        raise ModelError("keep_blocks", value=count, remedy="blocks that share weights in several groups cannot be cut")
    plan.config.num_hidden_layers = count
    if getattr(plan.config, "layer_types", None):
        plan.config.layer_types = plan.config.layer_types[:count]
    what = "runs of the shared block" if shared else "blocks"
    plan.notes.append(f"kept the first {count} of {plan.total_blocks} {what}")


def find_trunk_class(config: Any) -> Any:
    """Return the class of the family's model without a task head."""
    from transformers import MODEL_MAPPING

    if isinstance(config, GptConfig):
        return Gpt
    if isinstance(config, EfficientNetConfig):
        return EfficientNet
    if (tower := find_tower_class(config.model_type)) is not None:
        return tower
    if type(config) not in MODEL_MAPPING:
        raise ModelError(f"the family {config.model_type} has no model without a task head in `transformers`")
    found: Any = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def read_trunk(folder: Path, weights: WeightFiles, plan: TrunkPlan) -> nn.Module:
    """Build the trunk with the folder's weights; tensors it lacks are an error unless they are the pooler's."""
    if isinstance(plan.config, GptConfig):
        return read_gpt(folder, weights, plan.config, plan.dtype, plan.attention)
    kind = find_trunk_class(plan.config)
    options = plan.options(kind)
    if weights.safe:
        source, options["use_safetensors"] = str(folder), True
    else:
        source, options["state_dict"] = None, read_pickled(weights.files)
        plan.notes.append(f"weights read from {weights.files[0].name} with weights_only=True, not from safetensors")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trunk, told = kind.from_pretrained(
                source,
                config=plan.config,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except Exception as error:  # a broken file, an unknown attention function: many kinds of error
        why = " ".join(str(error).split())[:400]
        remedy = "check that config.json and weights belong together, or fetch the model again"
        raise ModelError(f"{folder}: the weights cannot be loaded ({why})", remedy=remedy) from error
    plan.notes.extend(judge_names(folder, plan, told))
    return trunk.eval()


def judge_names(folder: Path, plan: TrunkPlan, told: dict[str, Any]) -> list[str]:
    """Turn missing and unused tensors into notes, or into an error where the trunk would be incomplete."""
    missing, unused = sorted(told["missing_keys"]), sorted(told["unexpected_keys"])
    lost = [name for name in missing if not name.startswith("pooler.")]
    odd = sorted(str(name[0] if isinstance(name, tuple) else name) for name in told["mismatched_keys"])
    if odd:
        remedy = "config.json and weights do not belong together"
        raise ModelError(f"{folder}: tensors of another shape than config.json says: {_list(odd)}", remedy=remedy)
    if lost:
        raise ModelError(f"{folder}: the weights lack tensors of the trunk: {_list(lost)}", remedy="fetch it again")
    notes = [f"the weights have no pooler: it starts from random values ({_list(missing)})"] if missing else []
    anatomy = describe_family(plan.plain)
    kept = getattr(plan.config, "num_hidden_layers", None)
    if plan.total_blocks != kept:
        front = f"{anatomy.blocks}." if anatomy is not None else None
        unused = [name for name in unused if not _is_cut(name, front, kept or 0)]
    unused = [name for name in unused if not belongs_elsewhere(plan.config.model_type, name)]
    if predicts_tokens(plan.plain):
        unused = [name for name in unused if not name.startswith(f"{HEAD}.")]
    if unused:
        notes.append(f"{len(unused)} tensors of the file are not part of the trunk: {_list(unused)}")
    return notes


def _is_cut(name: str, front: str | None, kept: int) -> bool:
    """Whether a tensor belongs to a block that was not kept."""
    tail = name.rpartition(front)[2] if front is not None and front in name else name
    number = next((part for part in tail.split(".") if part.isdigit()), None)
    return number is not None and int(number) >= kept


def _list(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def read_tokenizer(folder: Path) -> Any:
    """Read the folder's tokenizer, which must be one of the `tokenizers` library."""
    remedy = "save it there with the tokenizer's `save_pretrained`"
    try:
        tokenizer = _load_tokenizer(folder)
    except Exception as error:  # the loader raises whatever the first missing file happens to cause
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder}: no usable tokenizer ({why})", remedy=remedy) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"{folder}: the tokenizer has no tokenizer.json form", value=type(tokenizer).__name__)
    if len(tokenizer.backend_tokenizer.get_vocab()) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{folder}: no tokenizer files, only special tokens", remedy=remedy)
    return tokenizer


def _load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer by its class; by `tokenizer.json` alone where the class needs SentencePiece (SigLIP)."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    whole = (folder / "tokenizer.json").is_file()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
    except ImportError:
        if not whole:
            raise
        tokenizer = None
    slow = getattr(tokenizer, "backend_tokenizer", None) is None
    return PreTrainedTokenizerFast.from_pretrained(str(folder), **options) if slow and whole else tokenizer


def fingerprint_folder_weights(folder: Path, weights: WeightFiles, kept: int | None, tower: str = "") -> str:
    """Hash the weight files, the configuration as it stands on disk, how many blocks are kept, and which tower."""
    files = [folder / "config.json", *weights.files]
    named = [part for path in files for part in (path.name, fingerprint_file(path))]
    return fingerprint_texts([*named, str(kept), *([tower] if tower else [])])


def read_ends(folder: Path) -> tuple[int, ...]:
    """Return the tokens at which a model folder says that writing ends; chat models list more there than elsewhere."""
    try:
        told = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return ()
    return tuple(token for token in (told if isinstance(told, list) else [told]) if isinstance(token, int))
