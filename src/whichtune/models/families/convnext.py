"""ConvNeXt: blocks of a wide convolution a channel and two linear maps a place."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from whichtune.models.anatomy import Anatomy, BlockSize, Config, Dimensions, Extent, Part, Projection, Word
from whichtune.models.families.patches import read_side, read_sizes, size_convolution, size_patches
from whichtune.models.families.sizes import size_norm, size_projections

PROJECTIONS: Mapping[Word, Projection] = {
    "mlp-in": Projection("pwconv1", "mlp"),
    "mlp-out": Projection("pwconv2", "mlp-inner"),
}
KERNEL = 7


def describe_convnext(config: Config) -> Anatomy:
    """ConvNeXt (Liu et al. 2022): the head reads the mean of the last map, behind a norm of that mean."""
    later = range(1, len(read_sizes(config, "depths")))
    return Anatomy(
        family="convnext",
        tokens="",
        embeddings=("embeddings",),
        blocks="encoder.stages.*.layers",
        projections=PROJECTIONS,
        reads="image",
        form="maps",
        local=True,
        pooler="layernorm",
        pooler_reads="pooled",
        shared=tuple(f"encoder.stages.{stage}.downsampling_layer" for stage in later),
        pooling="mean",
        count_rows=count_convnext_rows,
        measure=measure_convnext,
    )


def count_convnext_rows(config: Config, side: int) -> int:
    """Rows of the last map: what is left at the edges is not looked at."""
    length = side // read_side(config, "patch_size")
    for _ in read_sizes(config, "depths")[1:]:
        length //= 2
    return length**2


def measure_convnext(config: Config) -> Dimensions:
    """Sizes of ConvNeXt."""
    widths, depths = read_sizes(config, "hidden_sizes"), read_sizes(config, "depths")
    scaled = float(config.get("layer_scale_init_value", 1e-6)) > 0
    blocks = [
        _measure_block(width, scaled=scaled) for width, depth in zip(widths, depths, strict=True) for _ in range(depth)
    ]
    between = [size_norm(one) + size_convolution(one, other, 2) for one, other in pairwise(widths)]
    return Dimensions(
        hidden=widths[-1],
        blocks=len(blocks),
        embeddings=size_patches(config, widths[0]) + size_norm(widths[0]),
        block=blocks[-1].part,
        projections=blocks[-1].projections,
        shared=sum(between, Part()),
        pooler=size_norm(widths[-1]),
        each=tuple(blocks),
    )


def _measure_block(width: int, *, scaled: bool) -> BlockSize:
    projections: dict[Word, Extent] = {"mlp-in": Extent(width, 4 * width), "mlp-out": Extent(4 * width, width)}
    depthwise = size_convolution(width, width, KERNEL, groups=width)
    rest = depthwise + size_norm(width) + Part(width if scaled else 0)
    return BlockSize(size_projections(projections) + rest, projections)
