"""EfficientNet-Lite0 in plain torch: convolutions alone, without squeeze and excitation.

Tan and Le (2019) scale one network; the Lite variants keep its stem and top at one size, end every activation at six
and leave out the gates of the channels, so that they quantize well. Their weights come from TensorFlow, whose padding
puts the odd row or column behind the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError
from whichtune.models.weights import read_pickled

FAMILY: Literal["efficientnet-lite0"] = "efficientnet-lite0"
EPSILON = 1e-3
MOMENTUM = 0.01
"""Of the batch norms: TensorFlow's 0.99 the other way round."""
CLASSIFIER = "_fc"
"""Name of the classifier of ImageNet's 1,000 classes, which is no part of the trunk."""
PARTS: Mapping[str, str] = {
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.norm",
    "_conv_head": "top.convolution",
    "_bn1": "top.norm",
}
"""Names of published weights outside the blocks to ours."""
INSIDE: Mapping[str, str] = {
    "_expand_conv": "expand.convolution",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.convolution",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.convolution",
    "_bn2": "project.norm",
}
"""Names of published weights inside a block to ours."""


@dataclass
class EfficientNetConfig:
    """Sizes of an EfficientNet-Lite; the defaults are those of Lite0. One entry a stage."""

    num_channels: int = 3
    image_size: int = 224
    stem_size: int = 32
    hidden_sizes: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    depths: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    kernel_sizes: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expand_ratios: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    hidden_size: int = 1280
    model_type: str = field(default=FAMILY, init=False)

    def __post_init__(self) -> None:
        stages = (self.hidden_sizes, self.depths, self.kernel_sizes, self.strides, self.expand_ratios)
        if len({len(one) for one in stages}) != 1:
            raise ValueError(f"sizes of {', '.join(str(len(one)) for one in stages)} stages do not belong together")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Maps:
    """What the trunk gives."""

    last_hidden_state: Tensor
    """[B, H, h, w]"""


class SamePadding(nn.Conv2d):
    """A convolution that fills its edges so that a stride of s leaves one place in s, rounded up."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name torch gives it
        """Map [B, C, h, w]; an odd row or column is added behind."""
        down = self._missing(input.shape[2])
        across = self._missing(input.shape[3])
        edges = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(nn.functional.pad(input, edges))

    def _missing(self, length: int) -> int:
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((-(-length // stride) - 1) * stride + kernel - length, 0)


class Layer(nn.Module):
    """A convolution, its norm and, unless it is the last of a block, the activation."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.convolution = SamePadding(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)
        self.activates = True

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h', w']."""
        made = self.norm(self.convolution(maps))
        return nn.functional.relu6(made) if self.activates else made


class Bottleneck(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018): wide inside, narrow at both ends; a short cut where it fits."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, ratio: int) -> None:
        super().__init__()
        wide = inputs * ratio
        self.expand = Layer(inputs, wide) if ratio != 1 else None
        self.depthwise = Layer(wide, wide, kernel=kernel, stride=stride, groups=wide)
        self.project = Layer(wide, outputs)
        self.project.activates = False
        self.fits = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, h, w] to [B, outputs, h / stride, w / stride]."""
        wide = maps if self.expand is None else self.expand(maps)
        made = self.project(self.depthwise(wide))
        return maps + made if self.fits else made


class EfficientNet(nn.Module):
    """The trunk of an EfficientNet-Lite: stem, blocks and top, without pooling and classifier."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Layer(config.num_channels, config.stem_size, kernel=3, stride=2)
        self.blocks = nn.ModuleList(_make_blocks(config))
        self.top = Layer(config.hidden_sizes[-1], config.hidden_size)

    @classmethod
    def _from_config(cls, config: EfficientNetConfig, dtype: torch.dtype) -> EfficientNet:
        """Build with weights drawn from torch's random state; the name is the one `transformers` gives it."""
        return cls(config).to(dtype)

    def forward(self, pixel_values: Tensor) -> Maps:
        """Map scaled pixels, [B, C, S, S], to the last maps, [B, H, h, w]."""
        maps = self.stem(pixel_values.to(self.stem.convolution.weight.dtype))
        for block in self.blocks:
            maps = block(maps)
        return Maps(self.top(maps))


def _make_blocks(config: EfficientNetConfig) -> list[Bottleneck]:
    """Make the blocks in order; only the first of a stage changes width and size."""
    made: list[Bottleneck] = []
    inputs = config.stem_size
    stages = (config.hidden_sizes, config.depths, config.kernel_sizes, config.strides, config.expand_ratios)
    for outputs, depth, kernel, stride, ratio in zip(*stages, strict=True):
        for place in range(depth):
            first = stride if place == 0 else 1
            made.append(Bottleneck(inputs, outputs, kernel=kernel, stride=first, ratio=ratio))
            inputs = outputs
    return made


def read_efficientnet(file: Path, dtype: str) -> tuple[EfficientNet, nn.Linear]:
    """Read published weights of Lite0 into a trunk and, apart, the classifier they came with."""
    tensors = read_pickled((file,))
    named = {rename_tensor(name): tensor for name, tensor in tensors.items() if not name.startswith(f"{CLASSIFIER}.")}
    trunk = EfficientNet(EfficientNetConfig())
    try:
        trunk.load_state_dict(named, strict=True)
        classifier = nn.Linear(trunk.config.hidden_size, len(tensors[f"{CLASSIFIER}.bias"]))
        classifier.load_state_dict({word: tensors[f"{CLASSIFIER}.{word}"] for word in ("weight", "bias")})
    except (RuntimeError, KeyError) as error:
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"{file}: not the weights of EfficientNet-Lite0 ({why})") from error
    return trunk.to(getattr(torch, dtype)).eval(), classifier.to(getattr(torch, dtype))


def rename_tensor(name: str) -> str:
    """Return our name of a published tensor; one that has none keeps its own, and is refused by name later."""
    parts = name.split(".")
    if parts[0] == "_blocks" and len(parts) == 4 and parts[2] in INSIDE:
        return f"blocks.{parts[1]}.{INSIDE[parts[2]]}.{parts[3]}"
    return ".".join([PARTS.get(parts[0], parts[0]), *parts[1:]])
