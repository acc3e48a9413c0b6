"""From a method entry to a configuration of PEFT's own class: fields checked, targets turned into module paths."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from whichtune.errors import InputError, ModelError, did_you_mean
from whichtune.layers.masks import StepKey
from whichtune.methods.peft_table import KNOWN, OWN, REFUSED, STARTS_REFUSED, Place
from whichtune.methods.targets import GROUPS
from whichtune.models.backbone import Backbone
from whichtune.models.quiet import silence_four_bit
from whichtune.spec.peft import PeftSpec

HARMLESS = (
    "Failed to load the CUDA extension",  # BOFT without its compiled kernel
    "Unsupported layer type",  # LN tuning asks a norm for its widths, and needs none
    "Sparse invariant checks",  # FRoD's sparse factors
)
"""How those warnings begin."""
SEEDS = ("proj_seed", "projection_prng_key", "projection_seed", "random_loc_seed", "random_seed")
"""Fields that seed a tuner's frozen random parts; PEFT has one fixed number for all runs."""
TARGET_FIELDS = ("target_modules", "exclude_modules", "feedforward_modules")
"""Fields that name modules."""


def load_peft() -> Any:
    """Import PEFT, or say how to install it."""
    try:
        with silence_four_bit():
            import peft
    except ImportError as error:
        remedy = "pip install 'whichtune[peft]'"
        raise InputError("method peft: Hugging Face PEFT is not installed", remedy=remedy) from error
    return peft


def find_classes(tuner: str) -> tuple[Any, Any]:
    """Return a tuner's configuration class and its own class, or say that the installed PEFT is older than it."""
    from importlib import import_module

    peft = load_peft()
    mapping: Any = import_module("peft.mapping")
    kind = getattr(peft.PeftType, tuner.upper(), None)
    if kind is None:
        has = ", ".join(sorted(one.value.lower() for one in peft.PeftType))
        raise InputError(f"tuner of PEFT {peft.__version__}", value=tuner, allowed=has)
    return mapping.PEFT_TYPE_TO_CONFIG_MAPPING[kind], mapping.PEFT_TYPE_TO_TUNER_MAPPING.get(kind)


def make_config(backbone: Backbone, spec: PeftSpec, seed: int) -> Any:
    """Build the tuner's configuration on a backbone; fields that are seeds, where not given, are the given one."""
    config_class, _ = find_classes(spec.tuner)
    known = {field.name for field in fields(config_class)}
    check_fields(spec, known)
    given: dict[str, Any] = {
        name: deepcopy(value) for name, value in spec.config.items() if value is not None or name not in TARGET_FIELDS
    }
    given |= choose_targets(backbone, spec, known)
    given = {name: given.get(name, seed) for name in SEEDS if name in known} | given
    if "layers_to_transform" in given:
        asked = given.pop("layers_to_transform")
        given["target_modules"] = keep_blocks(backbone, given["target_modules"], asked)
    if spec.tuner == "adalora":
        given["total_step"] = int(given.get("tinit", 0)) + int(given.get("tfinal", 0)) + 1  # until the plan is known
    if "progressbar" in known:
        given.setdefault("progressbar", False)
    if "token_dim" in known:
        given |= measure_prompt(backbone, given, KNOWN[spec.tuner].place)
    if "encoder_hidden_size" in known:
        given.setdefault("encoder_hidden_size", backbone.embedding_width)
    with telling(spec):
        return config_class(**given)


def seed_of(key: StepKey, spec: PeftSpec) -> int:
    """Return the seed of everything a tuner draws before training, small enough for every generator."""
    return key.streams.derive("initialisation", "peft", spec.tuner) % 2**31


def check_fields(spec: PeftSpec, known: set[str]) -> None:
    """Refuse fields that the tuner does not have, that are not settings, or that cannot be kept."""
    allowed = sorted(known - set(OWN) - set(REFUSED))
    for name, value in spec.config.items():
        if name in REFUSED and name in known and value:
            raise InputError(f"config.{name} of {spec.tuner}", remedy=f"leave it out: {REFUSED[name]}")
        if name not in known or name in OWN:
            near = did_you_mean(name, allowed)
            raise InputError(f"config of {spec.tuner}", value=name, allowed=", ".join(allowed), remedy=near)
    if spec.tuner == "trainable_tokens" and not spec.config.get("token_indices"):
        raise InputError("config.token_indices of trainable_tokens is missing", remedy="list the token ids to train")
    start = spec.config.get("init_lora_weights")
    if isinstance(start, str) and start.lower() in STARTS_REFUSED:
        why = "it needs a sample of data, or quantised weights, before training"
        raise InputError("config.init_lora_weights", value=start, remedy=f"choose another: {why}")


@contextmanager
def quiet(spec: PeftSpec) -> Generator[None]:
    """Leave out the warnings of PEFT that tell a user nothing: each is said of a case that works as it should.

    BOFT says of every case that it takes one butterfly factor; where more are asked for, that is a refusal.
    """
    with warnings.catch_warnings():
        for start in HARMLESS:
            warnings.filterwarnings("ignore", message=start)
        one = spec.config.get("boft_n_butterfly_factor", 1) == 1
        warnings.filterwarnings("ignore" if one else "error", message="Setting boft_n_butterfly_factor to 1")
        yield


@contextmanager
def telling(spec: PeftSpec) -> Generator[None]:
    """Turn whatever PEFT refuses into one sentence."""
    try:
        yield
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # PEFT raises ValueError, TypeError, KeyError, RuntimeError, ...
        if "allocate memory" in str(error):
            raise
        told = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"PEFT refuses {spec.tuner} with config {spec.config}: {told}") from error


def choose_targets(backbone: Backbone, spec: PeftSpec, known: set[str]) -> dict[str, list[str]]:
    """Return every field that names modules as full paths; the tuner's own default where none are given."""
    asked = {name: spec.config[name] for name in TARGET_FIELDS if spec.config.get(name) is not None}
    if "target_modules" in known:
        asked.setdefault("target_modules", list(KNOWN[spec.tuner].targets))
    if "feedforward_modules" in known and "target_modules" not in spec.config:
        asked.setdefault("feedforward_modules", ["mlp-out"])
    return {name: resolve_modules(backbone, words, f"config.{name}") for name, words in asked.items()}


def resolve_modules(backbone: Backbone, words: str | Sequence[str], field: str) -> list[str]:
    """Turn anatomy words, module names and one regular expression into full paths, in the trunk's order."""
    paths = {name for name, _ in backbone.trunk.named_modules() if name}
    found: set[str] = set()
    single = isinstance(words, str)
    for word in [words] if single else words:
        matched = set(_of_word(backbone, str(word)))
        matched |= {path for path in paths if path == word or path.endswith(f".{word}")} if not matched else set()
        if not matched and single:
            matched = {path for path in paths if _matches(str(word), path, field)}
        if not matched:
            raise _no_such_module(backbone, field, str(word), paths)
        found |= matched
    return [path for path, _ in backbone.trunk.named_modules() if path in found]


def keep_blocks(backbone: Backbone, paths: Sequence[str], asked: int | Sequence[int]) -> list[str]:
    """Return the paths inside the asked blocks; PEFT's own choice does not look at modules given by their full path."""
    total = len(backbone.blocks)
    indices = list(asked) if isinstance(asked, Sequence) else [asked]
    wrong = [index for index in indices if index not in range(-total, total)]
    if wrong:
        raise InputError("config.layers_to_transform", value=wrong[0], allowed=f"blocks 0 to {total - 1}")
    fronts = tuple(f"{backbone.block_path(index)}." for index in indices)
    return [path for path in paths if path.startswith(fronts)]


def _of_word(backbone: Backbone, word: str) -> Iterator[str]:
    if word == "norms":
        yield from list_norms(backbone.trunk)
    elif word == "tokens":
        yield backbone.anatomy.tokens
    for each in GROUPS.get(word, (word,)):
        if each in backbone.anatomy.projections:
            yield from (backbone.projection(index, each)[0] for index in range(len(backbone.blocks)))


def list_norms(trunk: nn.Module) -> Iterator[str]:
    """List the paths of all norms, by their class's name."""
    for path, module in trunk.named_modules():
        if "norm" in type(module).__name__.lower() and getattr(module, "weight", None) is not None:
            yield path


def _matches(pattern: str, path: str, field: str) -> bool:
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error as error:
        raise InputError(f"{field}: no regular expression ({error})", value=pattern) from error


def _no_such_module(backbone: Backbone, field: str, word: str, paths: set[str]) -> ModelError:
    words = [*backbone.anatomy.projections, *GROUPS]
    tails = {path.rsplit(".", 1)[-1] for path in paths}
    return ModelError(
        f"{field}: no module of this {backbone.anatomy.family} trunk",
        value=word,
        allowed=", ".join([*words, "or a module's name"]),
        remedy=did_you_mean(word, [*words, *sorted(tails), *sorted(paths)]),
    )


def measure_prompt(backbone: Backbone, given: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return what a prompt's configuration must know of the backbone."""
    config = backbone.config
    heads = next((config[name] for name in ("num_attention_heads", "n_heads") if name in config), None)
    return {
        "token_dim": backbone.hidden if place == "keys" else backbone.embedding_width,
        "num_layers": len(backbone.blocks),
        "num_attention_heads": heads,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": given.get("num_virtual_tokens", 20),
    }
