"""What every entry of `methods` may say, whichever way of adapting it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator

from whichtune.errors import did_you_mean, sentence
from whichtune.spec.base import Misfit, Partial, Settings, Spec, Steps, raise_misfit
from whichtune.spec.members import kinds
from whichtune.spec.merge import deep_merge
from whichtune.spec.tasks import Reads
from whichtune.spec.training import PATIENCE, TrainingSpec

Pooling = Literal["default", "first", "mean", "last"]
Fusion = Literal["concat", "mlp", "product"]
GridValue = int | float | str | bool | tuple[str, ...]
RATES = ("learning_rate", "head_learning_rate")
"""Settings that a search varies over a range."""


class PairOn(Spec):
    """Two backbones of the study, by name, that read image and text."""

    image: str
    """What reads the images."""
    text: str
    """What reads the texts."""

    def __str__(self) -> str:
        return f"{self.image}+{self.text}"


class MethodBase(Spec):
    """What every method entry may say."""

    reads: ClassVar[Reads | None] = None
    """What it needs of a backbone, where that is not what the task gives."""

    on: tuple[str | PairOn, ...] | None = Field(default=None, min_length=1)
    """Names of the backbones it runs on, such as `[main]`, or pairs of them, such as
    `[{image: dino, text: minilm}]`; all when left out."""
    stream: int = Field(default=0, ge=0)
    """Makes a second, independent entry of the same method: other random streams at the same seeds."""
    grid: Annotated[dict[str, tuple[GridValue, ...]], Settings()] = Field(default_factory=dict)
    """Fields of this method to values: every combination becomes a candidate of its own."""

    @field_validator("grid")
    @classmethod
    def _grid_names_settings(cls, grid: dict[str, tuple[GridValue, ...]]) -> dict[str, tuple[GridValue, ...]]:
        raise_misfit(grid_faults(cls, grid))
        return grid


def grid_faults(
    method: type[MethodBase], grid: Mapping[str, Sequence[object]], what: str = "grid"
) -> Iterator[tuple[Steps, str]]:
    """Say which entries of a grid name no setting of the method, or hold no values."""
    settings = [name for name in method.model_fields if name not in _NOT_IN_GRIDS]
    for name, values in grid.items():
        if name not in settings:
            kind = " or ".join(kinds(method))
            near = did_you_mean(name, settings)
            told = f"no setting of {kind} that a {what} can vary"
            yield (name,), sentence(told, allowed="" if near else ", ".join(settings) or "none", remedy=near)
        elif not values:
            yield (name,), "has no values; give at least one"


_NOT_IN_GRIDS = {"kind", "on", "stream", "grid", "training", "search"}


def search_faults(method: type[MethodBase], search: Mapping[str, Sequence[object]]) -> Iterator[tuple[Steps, str]]:
    """Say which entries of a search name no setting of the method, or no range."""
    yield from grid_faults(method, {name: values or (None,) for name, values in search.items()}, "search")
    for name, values in search.items():
        if name in RATES and len(values) == 2 and not _grows(*values):
            yield (name,), "two values are the ends of a range, the lower one first and above 0"
        if len(values) == 1:
            yield (name,), "holds one value, which leaves nothing to choose; write it into the entry, and `[]` here"


def _grows(low: object, high: object) -> bool:
    return isinstance(low, int | float) and isinstance(high, int | float) and 0 < low < high


class BaselineBase(MethodBase):
    """A method that needs no backbone."""


class PrompterBase(MethodBase):
    """A method that asks a language model and trains nothing."""


class TunerBase(MethodBase):
    """A method that trains something on a backbone."""

    patience: ClassVar[int] = PATIENCE
    """Patience of early stopping where the study names none."""
    rates: ClassVar[tuple[float, float]] = (1e-4, 3e-3)
    """Ends between which a search looks for the learning rate."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate: a tuned setting, with a default that fits the method."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the head; the same as the rest when null."""
    training: Annotated[dict[str, Any], Partial(lambda: TrainingSpec)] = Field(default_factory=dict)
    """Held settings this method overrides; the report lists them and calls the comparison unequal."""
    search: Annotated[dict[str, tuple[GridValue, ...]], Settings()] = Field(default_factory=dict)
    """Settings of this method to what a search tries: two values of a rate are the ends of a range, all others are
    tried as they stand; an empty list holds a setting. The learning rate has a range of its own in any case."""
    pooling: Pooling = "default"
    """Which rows the head reads; the family's own way by default."""
    fusion: Fusion = "concat"
    """How a head over image and question puts both together: `concat` is additive in the two (no "is there a red
    circle?"), `mlp` has a hidden layer over both, `product` multiplies them element by element."""
    fusion_width: int = Field(default=256, ge=1)
    """Width that image and question are each mapped to before they are put together."""

    @field_validator("search")
    @classmethod
    def _search_names_settings(cls, search: dict[str, tuple[GridValue, ...]]) -> dict[str, tuple[GridValue, ...]]:
        raise_misfit(search_faults(cls, search))
        return search

    @field_validator("training")
    @classmethod
    def _training_is_part_of_held_settings(cls, training: dict[str, Any]) -> dict[str, Any]:
        try:
            TrainingSpec.model_validate(deep_merge(TrainingSpec().model_dump(), training))
        except ValidationError as error:
            raise Misfit((one["loc"], one["msg"]) for one in error.errors()) from error
        return training

    def rate_range(self) -> tuple[float, float]:
        """Return the ends between which a search looks for the learning rate, where the entry says nothing."""
        return self.rates
