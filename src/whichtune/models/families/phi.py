"""Phi: attention and MLP side by side behind one norm."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Extent, Part, Projection, Word, read_size
from whichtune.models.families.sizes import size_norm, size_projections, size_table

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("self_attn.q_proj", "attention"),
    "key": Projection("self_attn.k_proj", "attention"),
    "value": Projection("self_attn.v_proj", "attention"),
    "output": Projection("self_attn.dense", "context"),
    "mlp-in": Projection("mlp.fc1", "attention"),
    "mlp-out": Projection("mlp.fc2", "mlp-inner"),
}


def describe_phi(config: Config) -> Anatomy:
    """Phi-1, 1.5 and 2 (Gunasekar et al. 2023): the MLP reads what the attention reads; rotary positions."""
    return Anatomy(
        family="phi",
        tokens="embed_tokens",
        embeddings=("embed_tokens",),
        blocks="layers",
        projections=PROJECTIONS,
        final_norm="final_layernorm",
        positions=read_size(config, "max_position_embeddings"),
        pooling="last",
        measure=measure_phi,
    )


def measure_phi(config: Config) -> Dimensions:
    """Sizes of Phi."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    heads = read_size(config, "num_attention_heads")
    width = int(config.get("head_dim") or hidden // heads)
    keys = Extent(hidden, int(config.get("num_key_value_heads") or heads) * width)
    projections: dict[Word, Extent] = {
        "query": Extent(hidden, heads * width),
        "key": keys,
        "value": keys,
        "output": Extent(heads * width, hidden),
        "mlp-in": Extent(hidden, inner),
        "mlp-out": Extent(inner, hidden),
    }
    head_norms = size_norm(hidden // heads).times(2) if config.get("qk_layernorm") else Part()
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(read_size(config, "vocab_size"), hidden),
        block=size_projections(projections) + size_norm(hidden) + head_norms,
        projections=projections,
        final_norm=size_norm(hidden),
    )
