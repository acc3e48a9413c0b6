"""The shipped configurations: their arithmetic against torch's own count of the model they describe."""

from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification

import whichtune.models.configs as shipped
from whichtune.models.configs import OWNERS, find_shipped, list_shipped, read_shipped
from whichtune.models.count import count_parameters
from whichtune.models.families import TEXT_FAMILIES, describe_family
from whichtune.models.language import predicts_tokens

PUBLISHED = {
    "roberta-base": 124_647_939,
    "huawei-noah/TinyBERT_General_4L_312D": 14_351_187,
    "bert-base-uncased": 109_484_547,
}
TRUNKS = {
    "all-MiniLM-L6-v2": 22_713_216,
    "albert-base-v2": 11_683_584,
    "deberta-v3-base": 183_831_552,
    "distilbert-base-uncased": 66_362_880,
    "electra-base-discriminator": 108_891_648,
    "electra-small-discriminator": 13_548_800 - 256 * 257,
    "ModernBERT-base": 149_014_272,
    "bert-large-uncased": 335_141_888,
    "roberta-large": 355_359_744 - 1024 * 1025,
    "xlm-roberta-base": 278_043_648 - 768 * 769,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "SmolLM2-135M-Instruct": 134_515_008,
    "Meta-Llama-3-8B": 8_030_261_248 - 4096 * 128_256,
}
"""Published totals of the trunks, without the dense layers and output heads that are no trunk with us."""


def sizes_of(name):
    config = read_shipped(name)
    return describe_family(config).dimensions(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_totals_with_three_classes(name):
    sizes = sizes_of(name)
    assert sizes.trunk.parameters + sizes.head(3) == PUBLISHED[name]


@pytest.mark.parametrize("name", TRUNKS)
def test_the_published_totals_of_trunks(name):
    assert sizes_of(name).trunk.parameters == TRUNKS[name]


@pytest.mark.parametrize("name", [name for name in list_shipped() if read_shipped(name)["model_type"] in TEXT_FAMILIES])
def test_the_arithmetic_is_torchs_count_of_the_model_and_of_its_classifier(name):
    told, sizes = read_shipped(name), sizes_of(name)
    config = CONFIG_MAPPING[told["model_type"]].from_dict(told | {"num_labels": 3})
    pooled = {} if sizes.pooler.parameters or told["model_type"] not in POOLED else {"add_pooling_layer": False}
    with torch.device("meta"):
        trunk = AutoModel.from_config(config, **pooled)
        whole = AutoModelForSequenceClassification.from_config(config)
    assert count_parameters(trunk) == sizes.trunk.parameters
    bias = 3 if predicts_tokens(told) else 0
    assert count_parameters(whole) == sizes.trunk.parameters + sizes.head(3) - bias, "theirs has no bias there"
    filled = trunk.config.to_dict()
    assert describe_family(filled).dimensions(filled) == sizes
    assert describe_family(filled) == describe_family(told)


IMAGES = {
    "vit-base-patch16-224-in21k": 86_567_656 - 769_000,
    "deit-small-distilled-patch16-224": 22_436_432 - 2 * 385_000,
    "dinov2-small": 22_056_576,
    "swin-tiny-patch4-window7-224": 28_288_354 - 769_000,
    "convnext-tiny-224": 28_589_128 - 769_000,
    "resnet-50": 25_557_032 - 2_049_000,
}
"""Published sizes less the classifiers of 1,000 classes that they come with."""


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_the_arithmetic_is_the_published_size_of_image_models(name):
    told = CONFIG_MAPPING[read_shipped(name)["model_type"]].from_dict(read_shipped(name)).to_dict()
    assert describe_family(told).dimensions(told).trunk.parameters == IMAGES[name]


@pytest.mark.parametrize(
    ("name", "total"), [("clip-vit-base-patch32", 151_277_313 - 1), ("siglip-base-patch16-224", 203_155_970 - 2)]
)
def test_two_towers_are_the_published_size_together_but_for_scale_and_bias(name, total):
    whole = CONFIG_MAPPING[read_shipped(name)["model_type"]].from_dict(read_shipped(name))
    towers = [tower.to_dict() for tower in (whole.vision_config, whole.text_config)]
    assert sum(describe_family(tower).dimensions(tower).trunk.parameters for tower in towers) == total


POOLED = {"roberta", "xlm-roberta", "mpnet"}
"""Families whose class makes a pooler that their own classifier leaves out."""


def test_the_files_are_those_that_are_listed():
    folder = Path(shipped.__file__).parent
    assert {path.stem for path in folder.glob("*.json")} == set(OWNERS) == set(list_shipped())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("roberta-base", "roberta-base"),
        ("FacebookAI/roberta-base", "roberta-base"),
        ("tinybert_general_4l_312d", "TinyBERT_General_4L_312D"),
        ("answerdotai/modernbert-base", "ModernBERT-base"),
        ("someone/roberta-base", None),
        ("roberta", None),
        ("", None),
    ],
)
def test_names_are_found_short_or_full_and_those_of_others_are_not(name, found):
    assert find_shipped(name) == found
    assert (read_shipped(name) is None) == (found is None)
