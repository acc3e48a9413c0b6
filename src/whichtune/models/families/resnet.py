"""ResNet: convolutions with batch norms beside a short cut, in stages."""

from __future__ import annotations

from whichtune.models.anatomy import Anatomy, BlockSize, Config, Dimensions, Part, read_size
from whichtune.models.families.patches import read_sizes, size_convolution
from whichtune.models.families.sizes import size_norm

STEM = 7
REDUCTION = 4
"""How much narrower a bottleneck is than its block."""


def describe_resnet(_: Config) -> Anatomy:
    """ResNet (He et al. 2016): the head reads the mean of the last map. No layer of it is linear."""
    return Anatomy(
        family="resnet",
        tokens="",
        embeddings=("embedder",),
        blocks="encoder.stages.*.layers",
        projections={},
        reads="image",
        form="maps",
        local=True,
        pooling="mean",
        count_rows=count_resnet_rows,
        measure=measure_resnet,
    )


def count_resnet_rows(config: Config, side: int) -> int:
    """Rows of the last map: edges are filled up, so every halving rounds up."""
    halvings = 2 + bool(config.get("downsample_in_first_stage")) + len(read_sizes(config, "depths")) - 1
    length = side
    for _ in range(halvings):
        length = -(-length // 2)
    return length**2


def measure_resnet(config: Config) -> Dimensions:
    """Sizes of ResNet; a batch norm has a weight and a bias a channel, its running figures are no parameters."""
    first, widths = read_size(config, "embedding_size"), read_sizes(config, "hidden_sizes")
    blocks: list[BlockSize] = []
    inputs, halves = first, bool(config.get("downsample_in_first_stage"))
    for width, depth in zip(widths, read_sizes(config, "depths"), strict=True):
        blocks.append(BlockSize(_measure_block(config, inputs, width, cut=inputs != width or halves)))
        blocks += [BlockSize(_measure_block(config, width, width, cut=False))] * (depth - 1)
        inputs, halves = width, True
    return Dimensions(
        hidden=widths[-1],
        blocks=len(blocks),
        embeddings=_normed(read_size(config, "num_channels"), first, STEM),
        block=blocks[-1].part,
        projections={},
        each=tuple(blocks),
    )


def _measure_block(config: Config, inputs: int, outputs: int, *, cut: bool) -> Part:
    """Size one block; `cut` says whether its short cut has a convolution, where size or width changes."""
    short = _normed(inputs, outputs, 1) if cut else Part()
    if config.get("layer_type", "bottleneck") == "basic":
        return short + _normed(inputs, outputs, 3) + _normed(outputs, outputs, 3)
    inner = outputs // REDUCTION
    return short + _normed(inputs, inner, 1) + _normed(inner, inner, 3) + _normed(inner, outputs, 1)


def _normed(inputs: int, outputs: int, kernel: int) -> Part:
    return size_convolution(inputs, outputs, kernel, bias=False) + size_norm(outputs)
