"""Low-rank adapters: over the weights as they are, or over four-bit ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whichtune.spec.method_base import TunerBase


class LoraBase(TunerBase):
    """What the low-rank methods share."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    rank: int = Field(default=8, ge=1)
    """Rank of each adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale: the adapter's output is multiplied by alpha / rank (alpha / sqrt(rank) with `rslora`)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: tuple[str, ...] = Field(default=("query", "value"), min_length=1)
    """Anatomy words (`query`, `key`, `value`, `output`, `mlp-in`, `mlp-out`), `attention`, `all-linear`, or module
    names."""
    rslora: bool = False
    """Rank-stabilised scale alpha / sqrt(rank) (Kalajdzievski 2023)."""
    bias: Literal["none", "all", "lora-only"] = "none"
    """Which biases of the trunk train too."""


class LoraSpec(LoraBase):
    """Low-rank adapters beside frozen projections (Hu et al. 2021); the head is trained too."""

    kind: Literal["lora"]


class QloraSpec(LoraBase):
    """Low-rank adapters beside projections that are stored in four bits, NF4 (Dettmers et al. 2023)."""

    kind: Literal["qlora"]
    targets: tuple[str, ...] = Field(default=("all-linear",), min_length=1)
    """Anatomy words (`query`, `key`, `value`, `output`, `mlp-in`, `mlp-out`), `attention`, `all-linear`, or module
    names; all linear ones by default, which the paper found to be needed (section 4)."""
    double_quantization: bool = True
    """Quantize the scales of the four-bit blocks too: about 0.37 bits a weight less."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Type in which products with the dequantized weights are computed; `training.precision` can lower it further."""
