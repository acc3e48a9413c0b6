"""How settings are chosen for each method: the same budget for every one of them, over its own range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from pydantic import Field

from whichtune.spec.base import Spec, Steps
from whichtune.spec.method_base import RATES, GridValue, MethodBase, TunerBase
from whichtune.spec.seeds import derive_seed

Setting = dict[str, Any]
"""Names of a method's settings to the values that a search tries together."""
DIGITS = 3
"""Significant digits of a rate that a search tries: it is written and read as it stands."""
SEED_SPAN = 10**9
"""Seeds of search trials are below this, so that they can be typed."""
LEAP = 4.0
"""How many times the rate beyond an end may be that end, where a grid is coarse."""
FINEST = 33
"""Different rates that a search by seconds tries at most for one combination of the other settings."""


class HalvingSpec(Spec):
    """Successive halving (Jamieson & Talwalkar 2016): of the trials that reach a rung only the best share goes on."""

    kind: Literal["successive-halving"]
    first: int = Field(default=1, ge=1)
    """Validations of a trial before the first rung."""
    factor: int = Field(default=2, ge=2)
    """One in so many goes on at each rung, and the next rung is so many times as far."""


class SearchSpec(Spec):
    """The search for each method's settings; the validation split decides, the test split is never looked at."""

    trials: int = Field(default=8, ge=2, le=500)
    """Different settings tried for each method: on a fixed grid, logarithmic in rates."""
    seconds: float | None = Field(default=None, gt=0)
    """Seconds of trials for each method instead of a number of them; `trials` has no say then."""
    own: bool = True
    """Try each entry's own settings too, one trial more for every method; they may be chosen."""
    best: int = Field(default=2, ge=1)
    """So many of the best settings are trained again."""
    repeats: int = Field(default=2, ge=0)
    """Further seeds that the best settings get; the best mean is chosen."""
    engine: Literal["grid", "optuna"] = "grid"
    """What proposes settings: a fixed grid, or a sampler of Optuna (`pip install 'whichtune[search]'`)."""
    sampler: Literal["tpe", "random", "quasi-random"] = "tpe"
    """Optuna's sampler: one that learns from the trials before, independent draws, or draws spread evenly."""
    pruner: HalvingSpec | None = None
    """Ends poor trials early, with Optuna; it changes what is computed (tier T3), so it is off unless asked for."""
    share: Literal["ranks"] | None = None
    """`ranks`: low-rank entries that differ in nothing but their rank are searched at the middle one, and all take what
    it finds; it changes what is computed (tier T3), so it is off unless asked for."""

    def seed(self, place: int) -> int:
        """Return the seed of the first try (0) or of a repeat (1, 2, ...), the same for every method."""
        return derive_seed("search", place) % SEED_SPAN

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that search trials use."""
        return tuple(self.seed(place) for place in range(1 + self.repeats))


@dataclass(frozen=True)
class Space:
    """What a search varies of one method."""

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Rate to the ends between which it is searched."""
    choices: Mapping[str, tuple[GridValue, ...]] = field(default_factory=dict)
    """Any other setting to the values that are tried."""

    def __bool__(self) -> bool:
        return bool(self.ranges or self.choices)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is varied."""
        return (*self.ranges, *self.choices)

    def combine(self) -> list[Setting]:
        """List every combination of the choices; one empty one where there are none."""
        return [dict(zip(self.choices, values, strict=True)) for values in product(*self.choices.values())]


def find_space(method: MethodBase, held: Sequence[str] = ()) -> Space:
    """Return what a search varies of a method: what its entry says, and its learning rate over the method's own range.

    Nothing for a method without training, and nothing of the settings in `held`, which the entry's grid varies.
    """
    if not isinstance(method, TunerBase):
        return Space()
    asked: dict[str, tuple[GridValue, ...]] = {"learning_rate": method.rate_range(), **method.search}
    asked = {name: values for name, values in asked.items() if values and name not in held}
    ranges = {name: _ends(*values) for name, values in asked.items() if name in RATES and len(values) == 2}
    return Space(ranges, {name: values for name, values in asked.items() if name not in ranges})


def _ends(low: Any, high: Any) -> tuple[float, float]:
    return float(low), float(high)


def list_grid(space: Space, trials: int) -> list[Setting]:
    """List the settings of a fixed grid: so many in all, rates evenly apart on a logarithmic scale."""
    combinations = space.combine()
    if not space.ranges:
        return combinations
    ((name, (low, high)),) = space.ranges.items()
    rates = log_grid(low, high, trials // len(combinations))
    return [{name: rate, **rest} for rest in combinations for rate in rates]


def refine_grid(space: Space) -> list[Setting]:
    """List settings from coarse to fine, for a search that ends by time: the middle, the ends, then between them."""
    combinations = space.combine()
    if not space.ranges:
        return combinations
    ((name, (low, high)),) = space.ranges.items()
    places = [0.5, 0.0, 1.0]
    step = 0.25
    while len(places) < FINEST:
        places += [odd * step for odd in range(1, round(1 / step), 2)]
        step /= 2
    rates = dict.fromkeys(round_rate(low * (high / low) ** place) for place in places[:FINEST])
    return [{name: rate, **rest} for rate in rates for rest in combinations]


def log_grid(low: float, high: float, count: int) -> list[float]:
    """Return so many rates from one end to the other, each the same multiple of the one before, ends included."""
    return [round_rate(low * (high / low) ** (place / (count - 1))) for place in range(count)]


def step_beyond(tried: Sequence[float], end: float) -> float:
    """Return the rate beyond an end of what was tried: as far as its nearest neighbour, four times the end at most."""
    others = [rate for rate in tried if rate != end]
    nearest = min(others, key=lambda rate: abs(math.log(rate / end)))
    ratio = min(max(end / nearest, 1 / LEAP), LEAP)
    return round_rate(end * ratio)


def round_rate(rate: float) -> float:
    """Round to three significant digits."""
    return float(f"{rate:.{DIGITS}g}")


def search_faults(search: SearchSpec, methods: Mapping[str, MethodBase]) -> Iterator[tuple[Steps, str]]:
    """Say where a search and the methods of a study do not fit together."""
    if search.pruner is not None and search.engine != "optuna":
        yield ("search", "pruner"), "ends trials by Optuna's rules; set `engine: optuna`, or leave it out"
    if search.engine == "optuna" and search.seconds is not None:
        yield ("search", "seconds"), "goes with the grid; give Optuna `trials`"
    for name, method in methods.items():
        asked = method.search if isinstance(method, TunerBase) else {}
        for field_name in (one for one, values in asked.items() if values and one in method.grid):
            yield ("methods", name, "search", field_name), "stands in `grid` too; a setting is one or the other"
        if search.engine == "grid":
            yield from ((("methods", name, "search"), told) for told in _grid_misfits(search, _own_space(method)))


def _own_space(method: MethodBase) -> Space:
    return find_space(method, tuple(method.grid))


def _grid_misfits(search: SearchSpec, space: Space) -> Iterator[str]:
    """Say why a grid of the study's size cannot be laid over a space, so that every method has the same number."""
    if len(space.ranges) > 1:
        yield f"{' and '.join(space.ranges)} are two ranges; give one of them as three values or more, or use Optuna"
        return
    combinations = math.prod(len(values) for values in space.choices.values())
    if search.seconds is not None or not space:
        return
    if space.ranges and (search.trials % combinations or search.trials < 2 * combinations):
        fit = 2 * combinations if search.trials < 2 * combinations else combinations * (search.trials // combinations)
        told = f"{combinations} combinations do not share {search.trials} trials evenly"
        yield f"{told}; `search: {{trials: {fit}}}` fits"
    if not space.ranges and combinations > search.trials:
        yield f"{combinations} combinations are more than {search.trials} trials; give fewer values, or more trials"
