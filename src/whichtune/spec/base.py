"""What every part of a study file has in common, and the marks its fields can carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

Steps = tuple[str | int, ...]


class Spec(BaseModel):
    """A frozen, closed description: unknown fields are faults, and nothing changes after reading.

    Defaults are validated too, so that `epochs: float = 3` and an explicit `epochs: 3` are the same value with the
    same hash. Infinite numbers are faults: none of our settings has a meaning for them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class Partial:
    """Marks a mapping that holds any part of another spec, to be laid over it."""

    of: Callable[[], type[Spec]]
    """Returns the spec class; a function, so that a class can name itself."""


@dataclass(frozen=True)
class Settings:
    """Marks a mapping from field names of the spec it stands in to lists of values of those fields."""


class Misfit(ValueError):  # noqa: N818 - the word for several faults, raised only inside validators
    """Faults that a validator found, each with the steps from the validated value to where it is."""

    def __init__(self, faults: Iterable[tuple[Steps, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(_told(steps, text) for steps, text in self.faults))


def raise_misfit(faults: Iterable[tuple[Steps, str]]) -> None:
    """Raise a Misfit when there is any fault."""
    found = tuple(faults)
    if found:
        raise Misfit(found)


def _told(steps: Steps, text: str) -> str:
    path = ".".join(str(step) for step in steps)
    return f"{path}: {text}" if path else text
