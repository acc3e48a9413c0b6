"""The ways of adapting a backbone: one spec class a method, told apart by `kind`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from whichtune.errors import did_you_mean, sentence
from whichtune.spec.base import Misfit, Partial, Settings, Spec, Steps, raise_misfit
from whichtune.spec.members import kinds
from whichtune.spec.merge import deep_merge
from whichtune.spec.training import TrainingSpec

Pooling = Literal["default", "first", "mean", "last"]
GridValue = int | float | str | bool | tuple[str, ...]


class MethodBase(Spec):
    """What every method entry may say."""

    on: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the backbones it runs on, such as `[main]`; all when left out."""
    stream: int = Field(default=0, ge=0)
    """Makes a second, independent entry of the same method: other random streams at the same seeds."""
    grid: Annotated[dict[str, tuple[GridValue, ...]], Settings()] = Field(default_factory=dict)
    """Fields of this method to values: every combination becomes a candidate of its own."""

    @field_validator("grid")
    @classmethod
    def _grid_names_settings(cls, grid: dict[str, tuple[GridValue, ...]]) -> dict[str, tuple[GridValue, ...]]:
        raise_misfit(grid_faults(cls, grid))
        return grid


def grid_faults(method: type[MethodBase], grid: Mapping[str, Sequence[object]]) -> Iterator[tuple[Steps, str]]:
    """Say which entries of a grid name no setting of the method, or hold no values."""
    settings = [name for name in method.model_fields if name not in _NOT_IN_GRIDS]
    for name, values in grid.items():
        if name not in settings:
            kind = " or ".join(kinds(method))
            near = did_you_mean(name, settings)
            told = f"no setting of {kind} that a grid can vary"
            yield (name,), sentence(told, allowed="" if near else ", ".join(settings) or "none", remedy=near)
        elif not values:
            yield (name,), "has no values; give at least one"


_NOT_IN_GRIDS = {"kind", "on", "stream", "grid", "training"}


class BaselineBase(MethodBase):
    """A method that needs no backbone."""


class TunerBase(MethodBase):
    """A method that trains something on a backbone."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate: a tuned setting, with a default that fits the method."""
    training: Annotated[dict[str, Any], Partial(lambda: TrainingSpec)] = Field(default_factory=dict)
    """Held settings this method overrides; the report lists them and calls the comparison unequal."""
    pooling: Pooling = "default"
    """Which rows the head reads; the family's own way by default."""

    @field_validator("training")
    @classmethod
    def _training_is_part_of_held_settings(cls, training: dict[str, Any]) -> dict[str, Any]:
        try:
            TrainingSpec.model_validate(deep_merge(TrainingSpec().model_dump(), training))
        except ValidationError as error:
            raise Misfit((one["loc"], one["msg"]) for one in error.errors()) from error
        return training


class MajoritySpec(BaselineBase):
    """Always the most frequent label of the training rows, with the labels' shares as probabilities."""

    kind: Literal["majority"]


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
    MajoritySpec | FrozenFeaturesSpec | LastLayersSpec | LoraSpec | FullSpec, Field(discriminator="kind")
]
