"""Small backbones with random weights and a byte tokenizer: for tests, timing and shapes, never for quality."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from whichtune.errors import ModelError, did_you_mean
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.digest import digest

SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
SIZES: dict[str, int | float] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
}


def build_random(spec: RandomBackbone, attention: str) -> tuple[nn.Module, Any, str]:
    """Build trunk and tokenizer of a family; return them with a fingerprint of what decides the weights."""
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if spec.family not in CONFIG_MAPPING:
        remedy = did_you_mean(spec.family, list(CONFIG_MAPPING))
        raise ModelError("random backbone: no such family", value=spec.family, remedy=remedy)
    tokenizer = build_tokenizer()
    sizes = SIZES | {"vocab_size": len(tokenizer), "pad_token_id": 0} | spec.config
    config = CONFIG_MAPPING[spec.family](**sizes, attn_implementation=attention)
    extra = {"add_pooling_layer": False} if spec.family in ("roberta", "xlm-roberta", "camembert") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        trunk = AutoModel.from_config(config, **extra)
    told = digest(["random", spec.family, sizes, spec.seed, torch.__version__.partition("+")[0]], 64)
    return trunk, tokenizer, told


def build_tokenizer() -> Any:
    """Make a tokenizer whose tokens are bytes, with a row before and one after each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *letters))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",  # noqa: S106 - names of special tokens
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        mask_token="[MASK]",  # noqa: S106
    )
