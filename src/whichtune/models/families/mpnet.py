"""MPNet: BERT's blocks with one table of relative positions that all of them read."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Projection, Word, read_size
from whichtune.models.families.sizes import size_norm, size_post_norm_block, size_table, square_attention

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.attn.q", "attention"),
    "key": Projection("attention.attn.k", "attention"),
    "value": Projection("attention.attn.v", "attention"),
    "output": Projection("attention.attn.o", "context"),
    "mlp-in": Projection("intermediate.dense", "mlp"),
    "mlp-out": Projection("output.dense", "mlp-inner"),
}
OFFSET = 2
"""The family's code takes 1 for the padding row of its position table, whatever the pad id."""


def describe_mpnet(config: Config) -> Anatomy:
    """MPNet (Song et al. 2020): no segments, positions as in RoBERTa, the dense layer and tanh in the head."""
    return Anatomy(
        family="mpnet",
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings",),
        blocks="encoder.layer",
        projections=PROJECTIONS,
        head="dense-tanh",
        inert=("attention.attn.k.bias",),
        shared=("encoder.relative_attention_bias",),
        position_offset=OFFSET,
        positions=read_size(config, "max_position_embeddings") - OFFSET,
        measure=measure_mpnet,
    )


def measure_mpnet(config: Config) -> Dimensions:
    """Sizes of MPNet: the relative table has a row a bucket and a number a head."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    rows = read_size(config, "vocab_size") + read_size(config, "max_position_embeddings")
    buckets, heads = read_size(config, "relative_attention_num_buckets"), read_size(config, "num_attention_heads")
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(rows, hidden) + size_norm(hidden),
        block=size_post_norm_block(hidden, inner),
        projections=square_attention(hidden, inner),
        shared=size_table(buckets, heads),
        head_form="dense-tanh",
    )
