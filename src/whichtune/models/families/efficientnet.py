"""EfficientNet-Lite0 as it is written in whichtune: inverted bottlenecks without squeeze and excitation."""

from __future__ import annotations

from whichtune.models.anatomy import Anatomy, BlockSize, Config, Dimensions, Part, read_size
from whichtune.models.families.patches import read_sizes, size_convolution
from whichtune.models.families.sizes import size_norm

STEM = 3


def describe_efficientnet_lite0(_: Config) -> Anatomy:
    """EfficientNet-Lite0 (Tan and Le 2019): the head reads the mean of the last map. No layer of it is linear."""
    return Anatomy(
        family="efficientnet-lite0",
        tokens="",
        embeddings=("stem",),
        blocks="blocks",
        projections={},
        reads="image",
        form="maps",
        local=True,
        final_norm="top",
        pooling="mean",
        count_rows=count_efficientnet_rows,
        measure=measure_efficientnet,
    )


def count_efficientnet_rows(config: Config, side: int) -> int:
    """Rows of the last map: edges are filled up, so every stride rounds up."""
    length = side
    for stride in (2, *read_sizes(config, "strides")):
        length = -(-length // stride)
    return length**2


def measure_efficientnet(config: Config) -> Dimensions:
    """Sizes of an EfficientNet-Lite; what stands after the blocks is a convolution with its norm."""
    stem, hidden = read_size(config, "stem_size"), read_size(config, "hidden_size")
    widths, depths = read_sizes(config, "hidden_sizes"), read_sizes(config, "depths")
    kernels, ratios = read_sizes(config, "kernel_sizes"), read_sizes(config, "expand_ratios")
    blocks: list[BlockSize] = []
    inputs = stem
    for width, depth, kernel, ratio in zip(widths, depths, kernels, ratios, strict=True):
        for _ in range(depth):
            blocks.append(BlockSize(_measure_block((inputs, width), kernel, ratio)))
            inputs = width
    return Dimensions(
        hidden=hidden,
        blocks=len(blocks),
        embeddings=_normed(read_size(config, "num_channels"), stem, STEM),
        block=blocks[-1].part,
        projections={},
        final_norm=_normed(widths[-1], hidden, 1),
        each=tuple(blocks),
    )


def _measure_block(widths: tuple[int, int], kernel: int, ratio: int) -> Part:
    inputs, outputs = widths
    wide = inputs * ratio
    expand = Part() if ratio == 1 else _normed(inputs, wide, 1)
    return expand + _normed(wide, wide, kernel, groups=wide) + _normed(wide, outputs, 1)


def _normed(inputs: int, outputs: int, kernel: int, groups: int = 1) -> Part:
    return size_convolution(inputs, outputs, kernel, groups=groups, bias=False) + size_norm(outputs)
