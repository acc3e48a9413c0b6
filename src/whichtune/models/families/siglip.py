"""The two towers of SigLIP; each ends in a pooler, without a map into another space."""

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
from whichtune.models.families.sizes import size_linear, size_norm, size_projections, size_table, square_attention


def describe_siglip_vision(config: Config) -> Anatomy:
    """SigLIP's images (Zhai et al. 2023): no class row; one question asked of all rows by attention pools them."""
    pools = bool(config.get("vision_use_head", True))
    return Anatomy(
        family="siglip_vision_model",
        tokens="",
        embeddings=("embeddings",),
        blocks="encoder.layers",
        projections=TOWER,
        reads="image",
        final_norm="post_layernorm",
        pooler="head" if pools else None,
        pooler_reads="rows" if pools else "row",
        inert=TOWER_INERT,
        pooling="mean",
        count_rows=count_patches,
        measure=measure_siglip_vision,
    )


def describe_siglip_text(config: Config) -> Anatomy:
    """SigLIP's texts: all rows see each other, and the last one is mapped to the width of the images."""
    return Anatomy(
        family="siglip_text_model",
        tokens="embeddings.token_embedding",
        embeddings=("embeddings",),
        blocks="encoder.layers",
        projections=TOWER,
        final_norm="final_layer_norm",
        pooler="head",
        pooler_reads="pooled",
        inert=TOWER_INERT,
        positions=read_size(config, "max_position_embeddings"),
        filled=True,  # so they were trained (Zhai et al. 2023): a shorter text would get another row
        pooling="last",
        measure=measure_siglip_text,
    )


def measure_siglip_vision(config: Config) -> Dimensions:
    """Sizes of the tower of images."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    projections = square_attention(hidden, inner)
    rows = count_patches(config, read_side(config, "image_size"))
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_patches(config, hidden) + Part(rows * hidden),
        block=size_pre_norm_block(projections, hidden),
        projections=projections,
        final_norm=size_norm(hidden),
        pooler=_size_pooler(hidden, inner) if config.get("vision_use_head", True) else Part(),
    )


def measure_siglip_text(config: Config) -> Dimensions:
    """Sizes of the tower of texts."""
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    width = int(config.get("projection_size") or hidden)
    projections = square_attention(hidden, inner)
    tables = read_size(config, "vocab_size") + read_size(config, "max_position_embeddings")
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_table(tables, hidden),
        block=size_pre_norm_block(projections, hidden),
        projections=projections,
        final_norm=size_norm(hidden),
        pooler=size_linear(hidden, width),
        features=width,
    )


def _size_pooler(hidden: int, inner: int) -> Part:
    """Attention's four maps and an MLP of two, a norm, and the question."""
    return size_projections(square_attention(hidden, inner)) + size_norm(hidden) + Part(hidden)
