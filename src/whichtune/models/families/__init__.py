"""The table of families: model type to anatomy. A new family is one file here and one line in `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from whichtune.models.anatomy import Anatomy, Config, read_field
from whichtune.models.families.albert import describe_albert
from whichtune.models.families.bert import describe_bert, describe_electra, describe_roberta
from whichtune.models.families.clip import describe_clip_text, describe_clip_vision
from whichtune.models.families.convnext import describe_convnext
from whichtune.models.families.deberta import describe_deberta
from whichtune.models.families.dinov2 import describe_dinov2
from whichtune.models.families.distilbert import describe_distilbert
from whichtune.models.families.efficientnet import describe_efficientnet_lite0
from whichtune.models.families.gpt2 import describe_gpt, describe_gpt2
from whichtune.models.families.llama import (
    describe_gemma,
    describe_gemma2,
    describe_llama,
    describe_mistral,
    describe_qwen2,
    describe_qwen3,
)
from whichtune.models.families.modernbert import describe_modernbert
from whichtune.models.families.mpnet import describe_mpnet
from whichtune.models.families.opt import describe_opt
from whichtune.models.families.phi import describe_phi
from whichtune.models.families.resnet import describe_resnet
from whichtune.models.families.siglip import describe_siglip_text, describe_siglip_vision
from whichtune.models.families.swin import describe_swin
from whichtune.models.families.vit import describe_deit, describe_vit

TEXT_FAMILIES: Mapping[str, Callable[[Config], Anatomy]] = {
    "albert": describe_albert,
    "bert": describe_bert,
    "camembert": describe_roberta,
    "deberta-v2": describe_deberta,
    "distilbert": describe_distilbert,
    "electra": describe_electra,
    "gemma": describe_gemma,
    "gemma2": describe_gemma2,
    "gpt": describe_gpt,
    "gpt2": describe_gpt2,
    "llama": describe_llama,
    "mistral": describe_mistral,
    "modernbert": describe_modernbert,
    "mpnet": describe_mpnet,
    "opt": describe_opt,
    "phi": describe_phi,
    "qwen2": describe_qwen2,
    "qwen3": describe_qwen3,
    "roberta": describe_roberta,
    "xlm-roberta": describe_roberta,
}
"""Language models."""
IMAGE_FAMILIES: Mapping[str, Callable[[Config], Anatomy]] = {
    "clip_text_model": describe_clip_text,
    "clip_vision_model": describe_clip_vision,
    "convnext": describe_convnext,
    "deit": describe_deit,
    "dinov2": describe_dinov2,
    "efficientnet-lite0": describe_efficientnet_lite0,
    "resnet": describe_resnet,
    "siglip_text_model": describe_siglip_text,
    "siglip_vision_model": describe_siglip_vision,
    "swin": describe_swin,
    "vit": describe_vit,
}
"""Families that read images, and the towers of texts that were trained beside some of them."""
FAMILIES: Mapping[str, Callable[[Config], Anatomy]] = {**TEXT_FAMILIES, **IMAGE_FAMILIES}


def describe_family(config: Config) -> Anatomy | None:
    """Return the table's anatomy for a configuration, or None where the table has no such family."""
    entry = FAMILIES.get(str(read_field(config, "model_type")))
    return None if entry is None else entry(config)
