"""OPT: GPT-like blocks with projections apart and a table of positions with two rows in front."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, Projection, Word, read_size
from whichtune.models.families.limits import require_field
from whichtune.models.families.sizes import size_norm, size_projections, size_table, square_attention

PROJECTIONS: Mapping[Word, Projection] = {
    "query": Projection("self_attn.q_proj", "attention"),
    "key": Projection("self_attn.k_proj", "attention"),
    "value": Projection("self_attn.v_proj", "attention"),
    "output": Projection("self_attn.out_proj", "context"),
    "mlp-in": Projection("fc1", "mlp"),
    "mlp-out": Projection("fc2", "mlp-inner"),
}
ROWS_IN_FRONT = 2
"""Rows of the position table before the first place; the family's code adds them on its own."""


def describe_opt(config: Config) -> Anatomy:
    """OPT (Zhang et al. 2022), but for its 350m model, whose hidden rows are wider than its token rows."""
    hidden = read_size(config, "hidden_size")
    require_field(config, "word_embed_proj_dim", hidden, (hidden,))
    require_field(config, "enable_bias", default=True, allowed=(True,))
    require_field(config, "layer_norm_elementwise_affine", default=True, allowed=(True,))
    return Anatomy(
        family="opt",
        tokens="decoder.embed_tokens",
        embeddings=("decoder.embed_tokens", "decoder.embed_positions"),
        blocks="decoder.layers",
        projections=PROJECTIONS,
        final_norm="decoder.final_layer_norm" if _has_final_norm(config) else None,
        inert=("self_attn.k_proj.bias",),
        positions=read_size(config, "max_position_embeddings"),
        pooling="last",
        measure=measure_opt,
    )


def measure_opt(config: Config) -> Dimensions:
    """Sizes of OPT."""
    hidden = read_size(config, "hidden_size")
    projections = square_attention(hidden, read_size(config, "ffn_dim"))
    rows = read_size(config, "vocab_size") + read_size(config, "max_position_embeddings") + ROWS_IN_FRONT
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(rows, hidden),
        block=size_projections(projections) + size_norm(hidden).times(2) + Part(inert=hidden),
        projections=projections,
        final_norm=size_norm(hidden) if _has_final_norm(config) else Part(),
    )


def _has_final_norm(config: Config) -> bool:
    return bool(config.get("do_layer_norm_before", True)) and not config.get("_remove_final_layer_norm", False)
