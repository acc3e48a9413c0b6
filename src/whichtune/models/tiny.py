"""Small backbones with random weights and a byte tokenizer: for tests, timing and shapes, never for quality."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.efficientnet import EfficientNetConfig
from whichtune.models.gpt import GptConfig
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.digest import digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Value = int | float | str | bool | tuple[int, ...]
SPECIAL = ("[CLS]", "[PAD]", "[SEP]")
"""Special tokens of the byte tokenizer; their ids are 0, 1 and 2."""
PAD_ID = 1
POSITIONS = 128
SIZES: Mapping[str, Value] = {
    "vocab_size": len(SPECIAL) + 256,
    "pad_token_id": PAD_ID,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
"""Sizes of a tiny model, for those fields its family has."""
AFTER_PAD: Mapping[str, Value] = {"max_position_embeddings": POSITIONS + PAD_ID + 1}
ROBERTA: Mapping[str, Value] = {**AFTER_PAD, "type_vocab_size": 1}
DEBERTA_V3: Mapping[str, Value] = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
}
MODERNBERT: Mapping[str, Value] = {
    "local_attention": 16,
    "cls_token_id": 0,
    "sep_token_id": 2,
    "embedding_dropout": 0.1,
    "attention_dropout": 0.1,
    "mlp_dropout": 0.1,
}
GPT: Mapping[str, Value] = {"embd_pdrop": 0.1, "resid_pdrop": 0.1, "attn_pdrop": 0.1}
GROUPED: Mapping[str, Value] = {"num_key_value_heads": 2, "attention_dropout": 0.1}
"""Two heads of queries share one of keys and values."""
IMAGE: Mapping[str, Value] = {"image_size": 32, "patch_size": 8}
STAGED: Mapping[str, Value] = {"image_size": 32, "depths": (1, 2)}
"""Maps of two stages; the last map of an image of 32 pixels has 4 x 4 places or fewer."""
EFFICIENT: Mapping[str, Value] = {
    "stem_size": 8,
    "hidden_sizes": (8, 16),
    "kernel_sizes": (3, 5),
    "strides": (1, 2),
    "expand_ratios": (1, 2),
}
FAMILY_SIZES: Mapping[str, Mapping[str, Value]] = {
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "mpnet": AFTER_PAD,
    "distilbert": {"hidden_dim": 64, "dropout": 0.1, "attention_dropout": 0.1},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "deberta-v2": DEBERTA_V3,
    "modernbert": MODERNBERT,
    "gpt": GPT,
    "gpt2": GPT | {"n_inner": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.1, "attention_dropout": 0.1},
    "phi": {"embd_pdrop": 0.1, "resid_pdrop": 0.1, "attention_dropout": 0.1},
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 16},
    "gemma": GROUPED | {"head_dim": 16},
    "gemma2": GROUPED | {"head_dim": 16, "query_pre_attn_scalar": 16},
    "vit": IMAGE,
    "deit": IMAGE,
    "dinov2": IMAGE | {"mlp_ratio": 2},
    "swin": STAGED | {"patch_size": 4, "embed_dim": 16, "num_heads": (2, 4), "window_size": 4, "mlp_ratio": 2.0},
    "convnext": STAGED | {"num_stages": 2, "hidden_sizes": (16, 32), "layer_scale_init_value": 1.0},
    "resnet": STAGED | {"embedding_size": 16, "hidden_sizes": (16, 32)},
    "efficientnet-lite0": STAGED | EFFICIENT,
    "clip_vision_model": IMAGE | {"projection_dim": 24, "attention_dropout": 0.1},
    "clip_text_model": {"projection_dim": 24, "attention_dropout": 0.1},
    "siglip_vision_model": IMAGE | {"attention_dropout": 0.1},
    "siglip_text_model": {"attention_dropout": 0.1},
}
"""Fields in which a family differs."""
ALIASES: Mapping[str, Mapping[str, str]] = {"opt": {"initializer_range": "init_std"}}
"""Fields that a family has under another name than all others."""
TOWERS: Mapping[str, tuple[str, str]] = {
    "clip": ("clip_vision_model", "clip_text_model"),
    "siglip": ("siglip_vision_model", "siglip_text_model"),
}
"""Families of two towers, to that of images and that of texts."""
UNDECLARED: Mapping[str, frozenset[str]] = {
    "resnet": frozenset({"image_size"}),
    "deberta-v2": frozenset(
        {
            "position_buckets",
            "norm_rel_ebd",
            "share_att_key",
            "conv_kernel_size",
            "conv_groups",
            "conv_act",
            "embedding_size",
            "attention_head_size",
            "pooler_hidden_size",
        }
    ),
}
"""Fields that a family's code reads, although its configuration class does not declare them."""


def configure_random(spec: RandomBackbone) -> Any:
    """Make the configuration of a small model of the family, with the fields the spec replaces."""
    kind = _find_config_class(spec.family)
    fields = {*kind().to_dict(), *getattr(kind, "attribute_map", ()), *UNDECLARED.get(spec.family, ())}
    aliases = ALIASES.get(spec.family, {})
    asked = {aliases.get(name, name): value for name, value in spec.config.items()}
    for name in asked:
        if name not in fields:
            thing = f"`config` of the random backbone: {spec.family} has no field `{name}`"
            raise ModelError(thing, remedy=did_you_mean(name, fields))
    try:
        return kind(**{**_choose_sizes(spec.family, kind, fields), **asked})
    except Exception as error:  # families check their fields in their own ways, assertions among them
        raise _refused(spec.family, error) from error


def _choose_sizes(family: str, kind: Any, fields: Collection[str]) -> dict[str, Any]:
    """Return the tiny sizes of those fields that a family has; of two towers, the configurations of both."""
    if family in TOWERS:
        images, texts = (configure_random(RandomBackbone(kind="random", family=one)) for one in TOWERS[family])
        shared = {"projection_dim": images.projection_dim} if "projection_dim" in fields else {}
        return {"vision_config": images.to_dict(), "text_config": texts.to_dict(), **shared}
    own, mapped = FAMILY_SIZES.get(family, {}), getattr(kind, "attribute_map", {})
    sizes = {**{name: value for name, value in SIZES.items() if mapped.get(name) not in own}, **own}
    return {name: value for name, value in sizes.items() if name in fields}


def _find_config_class(family: str) -> Any:
    from transformers import CONFIG_MAPPING

    for own in (GptConfig, EfficientNetConfig):
        if family == own.model_type:
            return own
    if family not in CONFIG_MAPPING:
        near = did_you_mean(family, CONFIG_MAPPING) or "give a model type of `transformers`, such as bert"
        raise ModelError("family of the random backbone", value=family, remedy=near)
    return CONFIG_MAPPING[family]


def build_random(kind: Any, config: Any, seed: int, options: Mapping[str, Any]) -> Any:
    """Build a model with weights drawn from a seed; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return kind._from_config(config, **options)
        except Exception as error:  # as above
            raise _refused(config.model_type, error) from error


def fingerprint_random(spec: RandomBackbone) -> str:
    """Hash what decides the random weights: family, fields, seed, and the libraries that draw them."""
    own = [FAMILY_SIZES.get(family, {}) for family in (spec.family, *TOWERS.get(spec.family, ()))]
    sizes = {**SIZES, **own[0], **spec.config}
    libraries = [version("torch"), version("transformers")]
    told = ["random", spec.family, sizes, spec.seed, spec.keep_blocks, libraries]
    return digest([*told, *own[1:]], 64)


def make_byte_tokenizer() -> Tokenizer:
    """Make a tokenizer of the 256 bytes that needs no file; each text stands between `[CLS]` and `[SEP]`."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors

    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Backend(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    return tokenizer


def _refused(family: str, error: Exception) -> ModelError:
    why = " ".join(str(error).split())
    return ModelError(f"the random backbone cannot be built: {family} refuses its `config` ({why})")
