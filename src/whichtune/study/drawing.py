"""Settings that Optuna draws, one after the other; drawn again from the records when a study goes on.

Samplers are seeded and are told every result in the same order, so the same results give the same draws. Nothing of
Optuna's is kept on disk.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from whichtune.engine.fit import StepFigures
from whichtune.errors import InputError, PrunedError
from whichtune.spec.search import SearchSpec, Setting, Space, round_rate
from whichtune.spec.seeds import derive_seed

UNLEARNED = 2
"""The sampler that learns draws one in so many at random first; Optuna's ten would be all of a small search."""


@dataclass(frozen=True)
class Answer:
    """What a drawn setting came to."""

    score: float | None
    """Higher being better; None where the trial failed or was ended early."""
    curve: tuple[tuple[int, float | None], ...] = ()
    """Step and score of each validation; None where it was no finite number."""
    pruned: bool = False


@dataclass(frozen=True)
class Draw:
    """A setting that was drawn, with Optuna's own trial of it."""

    setting: Setting
    trial: Any


def load_optuna() -> Any:
    """Import Optuna, quiet, or say how to install it."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "search.engine optuna: Optuna is not installed", remedy="pip install 'whichtune[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def draw_settings(
    spec: SearchSpec, space: Space, stream: int, answer: Callable[[Setting], Answer | None]
) -> Iterator[Draw]:
    """Yield the settings drawn so far and one more: it ends behind the first that has no answer yet."""
    optuna = load_optuna()
    study = optuna.create_study(direction="maximize", sampler=_sampler(spec, stream), pruner=_pruner(spec))
    distributions = _distributions(space)
    for _ in range(spec.trials):
        trial = study.ask(distributions)
        setting = _read(space, trial.params)
        yield Draw(setting, trial)
        told = answer(setting)
        if told is None:
            return
        _tell(study, trial, told)


class Halving:
    """Ends a trial where Optuna's pruner would; a listener of the loop."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.validations = 0
        self.total = 0

    def on_step(self, figures: StepFigures, total: int) -> None:
        """Remember where the trial ends by itself."""
        self.total = total

    def on_validation(self, step: int, score: float, metrics: Mapping[str, float | None]) -> None:
        """Report the score, and end the trial where it is not among the best at this rung."""
        self.validations += 1
        self.trial.report(score, self.validations)
        if self.trial.should_prune() and step < self.total:
            raise PrunedError(step, self.validations)


def _sampler(spec: SearchSpec, stream: int) -> Any:
    samplers, seed = load_optuna().samplers, derive_seed("sampler", stream) % 2**32
    if spec.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=max(2, min(10, spec.trials // UNLEARNED)))
    if spec.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental; its draws are SciPy's
        return samplers.QMCSampler(seed=seed, scramble=True)


def _pruner(spec: SearchSpec) -> Any:
    pruners = load_optuna().pruners
    if spec.pruner is None:
        return pruners.NopPruner()
    return pruners.SuccessiveHalvingPruner(min_resource=spec.pruner.first, reduction_factor=spec.pruner.factor)


def _distributions(space: Space) -> dict[str, Any]:
    """Lay out ranges on a logarithmic scale, and choices by their places: Optuna takes no lists as values."""
    kinds = load_optuna().distributions
    ranges = {name: kinds.FloatDistribution(low, high, log=True) for name, (low, high) in space.ranges.items()}
    places = {name: kinds.CategoricalDistribution(range(len(values))) for name, values in space.choices.items()}
    return ranges | places


def _read(space: Space, drawn: Mapping[str, Any]) -> Setting:
    rates = {name: round_rate(drawn[name]) for name in space.ranges}
    return rates | {name: values[drawn[name]] for name, values in space.choices.items()}


def _tell(study: Any, trial: Any, told: Answer) -> None:
    """Tell a result as it came: validations first, each with the question that the pruner keeps its rungs by."""
    states = load_optuna().trial.TrialState
    for place, (_, score) in enumerate(told.curve, start=1):
        trial.report(math.nan if score is None else score, place)
        trial.should_prune()
    if told.score is not None:
        study.tell(trial, told.score)
    else:
        study.tell(trial, state=states.PRUNED if told.pruned and told.curve else states.FAIL)
