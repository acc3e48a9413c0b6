"""What a causal language model has beside its trunk: the output head, read from a checkpoint or drawn."""

from __future__ import annotations

import torch

from whichtune.models.anatomy import Config
from whichtune.models.families import describe_family
from whichtune.models.output_head import OutputHead
from whichtune.models.weights import WeightFiles, read_tensors

HEAD = "lm_head"
"""Name that every causal family gives its output head."""
BIASED = frozenset({"phi"})
"""Families whose output head has a bias."""
TOWERS = frozenset({"clip_text_model", "siglip_text_model"})
"""Families that read the last row of a text and predict no token."""


def predicts_tokens(config: Config) -> bool:
    """Whether the table knows the family as a causal one.

    Those that are found by structure may scale their scores in ways that the structure of a trunk does not show.
    """
    anatomy = describe_family(config)
    return anatomy is not None and anatomy.pooling == "last" and anatomy.family not in TOWERS


def read_output_head(weights: WeightFiles, config: Config) -> OutputHead | None:
    """Read the output head of a checkpoint; None where the family has none or the files came without it."""
    if not predicts_tokens(config):
        return None
    softcap = config.get("final_logit_softcapping")
    if config.get("tie_word_embeddings", True):
        return OutputHead(softcap=softcap)
    found = read_tensors(weights, (f"{HEAD}.weight", f"{HEAD}.bias"))
    weight = found.get(f"{HEAD}.weight")
    return None if weight is None else OutputHead(weight, found.get(f"{HEAD}.bias"), softcap)


def draw_output_head(config: Config, seed: int) -> OutputHead | None:
    """Make the output head of a random model."""
    if not predicts_tokens(config):
        return None
    softcap = config.get("final_logit_softcapping")
    if config.get("tie_word_embeddings", True):
        return OutputHead(softcap=softcap)
    generator = torch.Generator().manual_seed(seed)
    shape, spread = (config["vocab_size"], config["hidden_size"]), float(config.get("initializer_range", 0.02))
    return OutputHead(torch.empty(shape).normal_(0, spread, generator=generator), softcap=softcap)


def blank_output_head(config: Config) -> OutputHead | None:
    """Make the output head of a model without weights."""
    if not predicts_tokens(config):
        return None
    if config.get("tie_word_embeddings", True):
        return OutputHead()
    weight = torch.empty((config["vocab_size"], config["hidden_size"]), device="meta")
    return OutputHead(weight, torch.empty(len(weight), device="meta") if config["model_type"] in BIASED else None)


def count_output_head(config: Config) -> int:
    """Count the output head by the configuration: nothing where it is the token table."""
    if config.get("tie_word_embeddings", True):
        return 0
    return int(config["vocab_size"]) * (int(config["hidden_size"]) + (config["model_type"] in BIASED))
