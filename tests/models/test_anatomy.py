"""Sizes by configuration alone, against counts that are known from the published models."""

import pytest

from whichtune.errors import ModelError
from whichtune.models.anatomy import Dimensions, Part, linear, read_field
from whichtune.models.families import describe_family

BERT_BASE = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
TINY_BERT = BERT_BASE | {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200}
ROBERTA_BASE = BERT_BASE | {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}


def sizes_of(config) -> Dimensions:
    found = describe_family(config).dimensions(config)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "total"), [(BERT_BASE, 109_484_547), (TINY_BERT, 14_351_187), (ROBERTA_BASE, 124_647_939)]
)
def test_the_published_totals_with_three_classes(config, total):
    sizes = sizes_of(config)
    assert sizes.trunk.parameters + sizes.head(3) == total


def lora_on_query_and_value(config, rank) -> int:
    sizes = sizes_of(config)
    extents = [sizes.projections[word] for word in ("query", "value")]
    return sizes.blocks * sum(rank * (one.inputs + one.outputs) for one in extents) + sizes.head(3)


@pytest.mark.parametrize(
    ("config", "rank", "trained"),
    [
        (ROBERTA_BASE, 8, 887_811),
        (TINY_BERT, 8, 40_875),
        (BERT_BASE, 8, 297_219),
        (TINY_BERT, 4, 20_907),
        (TINY_BERT, 16, 80_811),
    ],
)
def test_the_published_lora_counts(config, rank, trained):
    assert lora_on_query_and_value(config, rank) == trained


def test_a_roberta_has_no_pooler_but_a_dense_layer_in_the_head():
    sizes = sizes_of(ROBERTA_BASE)
    assert sizes.pooler == Part()
    assert sizes.head(3) == linear(768, 768) + linear(768, 3)
    assert sizes_of(BERT_BASE).head(3) == linear(768, 3)


def test_positions_leave_out_those_before_the_first():
    assert describe_family(ROBERTA_BASE).positions == 512
    assert describe_family(BERT_BASE).positions == 512


def test_an_unknown_projection_names_the_near_ones():
    with pytest.raises(ModelError, match="did you mean 'query'"):
        describe_family(BERT_BASE).find("qurey")


def test_a_missing_field_is_named():
    with pytest.raises(ModelError, match="hidden_size"):
        sizes_of({name: value for name, value in BERT_BASE.items() if name != "hidden_size"})
    with pytest.raises(ModelError, match="did you mean 'vocab_size'"):
        read_field(BERT_BASE, "vocab_sise")


def test_other_families_are_not_in_the_table():
    assert describe_family({"model_type": "t5"}) is None


@pytest.mark.parametrize("odd", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}])
def test_variants_with_other_tensors_or_masks_are_refused(odd):
    with pytest.raises(ModelError, match=next(iter(odd))):
        describe_family(BERT_BASE | odd)
