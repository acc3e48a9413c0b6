"""ALBERT: one block, run many times."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.errors import ModelError
from whichtune.models.anatomy import Anatomy, Config, Dimensions, Projection, Word, read_size
from whichtune.models.families.bert import measure_tables
from whichtune.models.families.limits import require_field, require_plain_encoder
from whichtune.models.families.sizes import size_linear, size_post_norm_block, square_attention

LAYER = "albert_layers.0"
"""A group holds a list of layers; every published model has one in it."""
PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection(f"{LAYER}.attention.query", "attention"),
    "key": Projection(f"{LAYER}.attention.key", "attention"),
    "value": Projection(f"{LAYER}.attention.value", "attention"),
    "output": Projection(f"{LAYER}.attention.dense", "context"),
    "mlp-in": Projection(f"{LAYER}.ffn", "mlp"),
    "mlp-out": Projection(f"{LAYER}.ffn_output", "mlp-inner"),
}


def describe_albert(config: Config) -> Anatomy:
    """ALBERT (Lan et al. 2020): groups of shared weights are the blocks, each run several times; the pooler is trunk.

    The pooler is a bare linear map of one row, its tanh stands beside it.
    """
    require_plain_encoder(config)
    require_field(config, "inner_group_num", 1, {1})
    return Anatomy(
        family="albert",
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings", "encoder.embedding_hidden_mapping_in"),
        blocks="encoder.albert_layer_groups",
        projections=PROJECTIONS,
        runs=count_runs(config),
        pooler="pooler",
        pooler_activation="pooler_activation",
        inert=(f"{LAYER}.attention.key.bias",),
        positions=read_size(config, "max_position_embeddings"),
        segments=read_size(config, "type_vocab_size") > 1,
        measure=measure_albert,
    )


def count_runs(config: Config) -> int:
    """How often each group runs; groups that would run unequally often are refused."""
    layers, groups = read_size(config, "num_hidden_layers"), _count_groups(config)
    if layers % groups:
        allowed = f"a divisor of the {layers} layers"
        raise ModelError("`num_hidden_groups` of the model", value=groups, allowed=allowed)
    return layers // groups


def measure_albert(config: Config) -> Dimensions:
    """Sizes of ALBERT: each group counts once, however often it runs."""
    hidden, width = read_size(config, "hidden_size"), read_size(config, "embedding_size")
    inner = read_size(config, "intermediate_size")
    return Dimensions(
        hidden=hidden,
        blocks=_count_groups(config),
        embeddings=measure_tables(config, width) + size_linear(width, hidden),
        block=size_post_norm_block(hidden, inner),
        projections=square_attention(hidden, inner),
        pooler=size_linear(hidden, hidden),
    )


def _count_groups(config: Config) -> int:
    return int(config.get("num_hidden_groups", 1))
