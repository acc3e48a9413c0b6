"""DistilBERT: half of BERT's blocks under names of its own."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Projection, Word, read_size
from whichtune.models.families.sizes import size_norm, size_post_norm_block, size_table, square_attention

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("attention.q_lin", "attention"),
    "key": Projection("attention.k_lin", "attention"),
    "value": Projection("attention.v_lin", "attention"),
    "output": Projection("attention.out_lin", "context"),
    "mlp-in": Projection("ffn.lin1", "mlp"),
    "mlp-out": Projection("ffn.lin2", "mlp-inner"),
}


def describe_distilbert(config: Config) -> Anatomy:
    """DistilBERT (Sanh et al. 2019): no segments and no pooler; the head's dense layer is followed by a relu."""
    return Anatomy(
        family="distilbert",
        tokens="embeddings.word_embeddings",
        embeddings=("embeddings",),
        blocks="transformer.layer",
        projections=PROJECTIONS,
        head="dense-relu",
        inert=("attention.k_lin.bias",),
        positions=read_size(config, "max_position_embeddings"),
        measure=measure_distilbert,
    )


def measure_distilbert(config: Config) -> Dimensions:
    """Sizes of DistilBERT; its fields have short names."""
    hidden, inner = read_size(config, "dim"), read_size(config, "hidden_dim")
    rows = read_size(config, "vocab_size") + read_size(config, "max_position_embeddings")
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "n_layers"),
        embeddings=size_table(rows, hidden) + size_norm(hidden),
        block=size_post_norm_block(hidden, inner),
        projections=square_attention(hidden, inner),
        head_form="dense-relu",
    )
