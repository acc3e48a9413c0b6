"""The ways of adapting a backbone: one spec class a method, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from whichtune.spec.method_base import BaselineBase, TunerBase
from whichtune.spec.peft import PeftSpec
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec


class MajoritySpec(BaselineBase):
    """Always the most frequent label of the training rows, with the labels' shares as probabilities."""

    kind: Literal["majority"]


class HypothesisOnlySpec(BaselineBase):
    """A bag of words and word pairs of the second text alone: what a model can guess without reading the first."""

    kind: Literal["hypothesis-only"]


class FullSpec(TunerBase):
    """Every parameter of the backbone and the head is trained."""

    kind: Literal["full"]
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate."""


class LastLayersSpec(TunerBase):
    """The last blocks and the head are trained, the rest is frozen."""

    kind: Literal["last-layers"]
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    blocks: int = Field(default=1, ge=1)
    """How many of the last blocks are trained."""
    final_norm: bool = False
    """Train the norm after the last block too, where there is one."""
    pooler: bool = True
    """Train the trunk's pooler too, where there is one and the head reads it."""


class FrozenFeaturesSpec(TunerBase):
    """The backbone is frozen; only the head on its features is trained."""

    kind: Literal["frozen-features"]
    learning_rate: float = Field(default=5e-3, gt=0)
    """Peak learning rate."""
    final_norm: bool = False
    """Train the norm after the last block too, where there is one."""
    pooler: bool = False
    """Train the trunk's pooler too, where there is one and the head reads it."""


class LoraSpec(TunerBase):
    """Low-rank adapters beside frozen projections (Hu et al. 2021); the head is trained too."""

    kind: Literal["lora"]
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


MethodSpec = Annotated[
    MajoritySpec
    | HypothesisOnlySpec
    | FrozenFeaturesSpec
    | LastLayersSpec
    | PromptTuningSpec
    | PTuningSpec
    | LoraSpec
    | PeftSpec
    | FullSpec,
    Field(discriminator="kind"),
]
