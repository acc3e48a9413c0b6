"""Configurations of well-known models, shipped as they are published: architecture fields alone, no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

OWNERS: Mapping[str, tuple[str, ...]] = {
    "albert-base-v2": ("albert",),
    "all-MiniLM-L6-v2": ("sentence-transformers",),
    "bert-base-uncased": ("google-bert",),
    "bert-large-uncased": ("google-bert",),
    "clip-vit-base-patch32": ("openai",),
    "convnext-tiny-224": ("facebook",),
    "deberta-v3-base": ("microsoft",),
    "deit-small-distilled-patch16-224": ("facebook",),
    "dinov2-small": ("facebook",),
    "distilbert-base-uncased": ("distilbert",),
    "electra-base-discriminator": ("google",),
    "electra-small-discriminator": ("google",),
    "gpt2": ("openai-community",),
    "gpt2-large": ("openai-community",),
    "gpt2-medium": ("openai-community",),
    "gpt2-xl": ("openai-community",),
    "Meta-Llama-3-8B": ("meta-llama",),
    "ModernBERT-base": ("answerdotai",),
    "mpnet-base": ("microsoft",),
    "resnet-50": ("microsoft",),
    "roberta-base": ("FacebookAI",),
    "roberta-large": ("FacebookAI",),
    "siglip-base-patch16-224": ("google",),
    "SmolLM2-135M-Instruct": ("HuggingFaceTB",),
    "swin-tiny-patch4-window7-224": ("microsoft",),
    "TinyBERT_General_4L_312D": ("huawei-noah",),
    "vit-base-patch16-224-in21k": ("google",),
    "xlm-roberta-base": ("FacebookAI",),
}
"""Short name, which is the file's, to the hub accounts the model stands under."""


def list_shipped() -> tuple[str, ...]:
    """Return the short names of the models whose configuration is here."""
    return tuple(sorted(OWNERS, key=str.lower))


def find_shipped(name: str) -> str | None:
    """Return the short name for a short or full one in any case; None for a model, or an account, not known here."""
    owner, _, short = name.lower().rpartition("/")
    for known, owners in OWNERS.items():
        if known.lower() == short and (not owner or owner in {each.lower() for each in owners}):
            return known
    return None


def read_shipped(name: str) -> dict[str, Any] | None:
    """Return the configuration of a model by its short or full name, or None where it is not here."""
    known = find_shipped(name)
    if known is None:
        return None
    return json.loads(files(__name__).joinpath(f"{known}.json").read_text(encoding="utf-8"))
