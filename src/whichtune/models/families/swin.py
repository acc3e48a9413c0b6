"""Swin: attention inside windows of a map that halves from stage to stage while its rows widen."""

from __future__ import annotations

from whichtune.models.anatomy import Anatomy, BlockSize, Config, Dimensions, Part, read_size
from whichtune.models.families.patches import (
    JOINED,
    joined_attention,
    key_inert,
    read_side,
    read_sizes,
    size_patches,
    size_pre_norm_block,
)
from whichtune.models.families.sizes import size_linear, size_norm


def describe_swin(config: Config) -> Anatomy:
    """Swin (Liu et al. 2021): the head reads the mean of the last map's rows behind the norm."""
    later = range(len(read_sizes(config, "depths")) - 1)
    return Anatomy(
        family="swin",
        tokens="",
        embeddings=("embeddings",),
        blocks="encoder.layers.*.blocks",
        projections=JOINED,
        reads="image",
        form="maps",
        local=True,
        final_norm="layernorm",
        inert=key_inert(config),
        shared=tuple(f"encoder.layers.{stage}.downsample" for stage in later),
        pooling="mean",
        count_rows=count_swin_rows,
        measure=measure_swin,
    )


def count_swin_rows(config: Config, side: int) -> int:
    """Rows of the last map: edges are filled up, so every halving rounds up; none where it is less than a window."""
    length = -(-side // read_side(config, "patch_size"))
    for _ in read_sizes(config, "depths")[1:]:
        length = -(-length // 2)
    return length**2 if length >= read_size(config, "window_size") else 0


def measure_swin(config: Config) -> Dimensions:
    """Sizes of Swin, whose rows double in width from stage to stage."""
    first, depths = read_size(config, "embed_dim"), read_sizes(config, "depths")
    widths = [first * 2**stage for stage in range(len(depths))]
    blocks = [
        _measure_block(config, width, heads)
        for width, heads, depth in zip(widths, read_sizes(config, "num_heads"), depths, strict=True)
        for _ in range(depth)
    ]
    absolute = (read_side(config, "image_size") // read_side(config, "patch_size")) ** 2 * first
    merging = [size_norm(4 * width) + size_linear(4 * width, 2 * width, bias=False) for width in widths[:-1]]
    places = Part(absolute) if config.get("use_absolute_embeddings") else Part()
    return Dimensions(
        hidden=widths[-1],
        blocks=len(blocks),
        embeddings=size_patches(config, first) + size_norm(first) + places,
        block=blocks[-1].part,
        projections=blocks[-1].projections,
        shared=sum(merging, Part()),
        final_norm=size_norm(widths[-1]),
        each=tuple(blocks),
    )


def _measure_block(config: Config, width: int, heads: int) -> BlockSize:
    projections = joined_attention(config, width, int(config.get("mlp_ratio", 4) * width))
    offsets = 2 * read_size(config, "window_size") - 1
    return BlockSize(size_pre_norm_block(projections, width) + Part(offsets**2 * heads), projections)
