"""ViT and DeiT: rows of patches behind a class row, in blocks with their norms in front."""

from __future__ import annotations

from functools import partial

from whichtune.models.anatomy import Anatomy, Config, Dimensions, Part, read_size
from whichtune.models.families.patches import (
    JOINED,
    count_patches,
    joined_attention,
    key_inert,
    read_side,
    size_patches,
    size_pre_norm_block,
)
from whichtune.models.families.sizes import size_norm


def describe_vit(config: Config) -> Anatomy:
    """ViT (Dosovitskiy et al. 2021): the head reads the class row behind the last norm; the pooler is not built."""
    return _describe(config, 1)


def describe_deit(config: Config) -> Anatomy:
    """DeiT (Touvron et al. 2021): ViT with a second own row, which a teacher taught; the head reads the first."""
    return _describe(config, 2)


def _describe(config: Config, own: int) -> Anatomy:
    return Anatomy(
        family=str(config["model_type"]),
        tokens="",
        embeddings=("embeddings",),
        blocks="layers",
        projections=JOINED,
        reads="image",
        final_norm="layernorm",
        inert=key_inert(config),
        count_rows=partial(_count_rows, own),
        measure=partial(_measure, own),
    )


def _count_rows(own: int, config: Config, side: int) -> int:
    patches = count_patches(config, side)
    return patches + own if patches else 0


def _measure(own: int, config: Config) -> Dimensions:
    hidden, inner = read_size(config, "hidden_size"), read_size(config, "intermediate_size")
    projections = joined_attention(config, hidden, inner)
    rows = count_patches(config, read_side(config, "image_size")) + own
    return Dimensions(
        hidden=hidden,
        blocks=read_size(config, "num_hidden_layers"),
        embeddings=size_patches(config, hidden) + Part((own + rows) * hidden),
        block=size_pre_norm_block(projections, hidden),
        projections=projections,
        final_norm=size_norm(hidden),
    )
