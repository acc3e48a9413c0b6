"""The ways of adapting a backbone: one spec class a method, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from whichtune.spec.lora import LoraSpec, QloraSpec
from whichtune.spec.method_base import BaselineBase, TunerBase
from whichtune.spec.peft import PeftSpec
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec
from whichtune.spec.zero_shot import ZeroShotSpec


class MajoritySpec(BaselineBase):
    """Always the most frequent label of the training rows, with the labels' shares as probabilities."""

    kind: Literal["majority"]


class HypothesisOnlySpec(BaselineBase):
    """A bag of words and word pairs of the second text alone: what a model can guess without reading the first."""

    kind: Literal["hypothesis-only"]


class QuestionOnlySpec(BaselineBase):
    """A bag of words and word pairs of the question alone: what a model can guess without looking at the image."""

    kind: Literal["question-only"]


class LeadSpec(BaselineBase):
    """The first sentence of the text as its summary."""

    kind: Literal["lead"]


class FullSpec(TunerBase):
    """Every parameter of the backbone and the head is trained."""

    rates: ClassVar[tuple[float, float]] = (1e-5, 1e-4)

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

    rates: ClassVar[tuple[float, float]] = (1e-4, 1e-2)

    kind: Literal["frozen-features"]
    learning_rate: float = Field(default=5e-3, gt=0)
    """Peak learning rate."""
    final_norm: bool = False
    """Train the norm after the last block too, where there is one."""
    pooler: bool = False
    """Train the trunk's pooler too, where there is one and the head reads it."""


MethodSpec = Annotated[
    MajoritySpec
    | HypothesisOnlySpec
    | QuestionOnlySpec
    | LeadSpec
    | PromptingSpec
    | ZeroShotSpec
    | FrozenFeaturesSpec
    | LastLayersSpec
    | PromptTuningSpec
    | PTuningSpec
    | LoraSpec
    | QloraSpec
    | PeftSpec
    | FullSpec,
    Field(discriminator="kind"),
]
