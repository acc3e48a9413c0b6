"""The two towers of CLIP; each ends in a linear map into the space that both share."""

from __future__ import annotations

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, read_size
from whichtune.models.families.patches import (
    TOWER,
    TOWER_INERT,
    count_patches,
    read_side,
    size_patches,
    size_pre_norm_block,
)
from whichtune.models.families.sizes import size_linear, size_norm, size_table, square_attention


def describe_clip_vision(_: Config) -> Anatomy:
    """CLIP's images (Radford et al. 2021): the class row, a norm of it, and the map into the shared space."""
    return Anatomy(
        family="clip_vision_model",
        tokens="",
        embeddings=("vision_model.embeddings", "vision_model.pre_layrnorm"),
        blocks="vision_model.encoder.layers",
        projections=TOWER,
        reads="image",
        pooler="vision_model.post_layernorm",
        pooler_reads="pooled",
        shared_space="visual_projection",
        inert=TOWER_INERT,
        count_rows=count_clip_rows,
        measure=measure_clip_vision,
    )


def describe_clip_text(config: Config) -> Anatomy:
    """CLIP's texts: every row sees those before it; the end token's row goes through the map into the shared space."""
    return Anatomy(
        family="clip_text_model",
        tokens="text_model.embeddings.token_embedding",
        embeddings=("text_model.embeddings",),
        blocks="text_model.encoder.layers",
        projections=TOWER,
        final_norm="text_model.final_layer_norm",
        shared_space="text_projection",
        inert=TOWER_INERT,
        positions=read_size(config, "max_position_embeddings"),
        pooling="last",
        measure=measure_clip_text,
    )


def count_clip_rows(config: Config, side: int) -> int:
    """Patches and the class row."""
    patches = count_patches(config, side)
    return patches + 1 if patches else 0


def measure_clip_vision(config: Config) -> Dimensions:
    """Sizes of the tower of images; the map into the shared space is counted with the pooler."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    shared = read_size(config, "projection_dim")
    projections = square_attention(hidden, inner)
    rows = count_clip_rows(config, read_side(config, "image_size"))
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_patches(config, hidden, bias=False) + Part((1 + rows) * hidden) + size_norm(hidden),
        block=size_pre_norm_block(projections, hidden),
        projections=projections,
        pooler=size_norm(hidden) + size_linear(hidden, shared, bias=False),
        features=shared,
    )


def measure_clip_text(config: Config) -> Dimensions:
    """Sizes of the tower of texts; the map into the shared space is counted as the pooler."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    shared = read_size(config, "projection_dim")
    projections = square_attention(hidden, inner)
    tables = read_size(config, "vocab_size") + read_size(config, "max_position_embeddings")
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(tables, hidden),
        block=size_pre_norm_block(projections, hidden),
        projections=projections,
        final_norm=size_norm(hidden),
        pooler=size_linear(hidden, shared, bias=False),
        features=shared,
    )
