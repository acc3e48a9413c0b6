"""The search of one candidate: from the trials that are over to those it asks for next, and what it chooses in the end.

Nothing here runs anything or reads a file. The same results give the same questions, so a study that was killed asks on
where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from whichtune.records.search import End
from whichtune.records.trial import Purpose, Status
from whichtune.spec.digest import canonical
from whichtune.spec.grids import with_setting
from whichtune.spec.search import SearchSpec, Setting, Space, list_grid, refine_grid, round_rate, step_beyond
from whichtune.study.drawing import Answer, Draw, Halving, draw_settings
from whichtune.study.plan import Planned

NEAR_END = 0.05
"""Where settings are drawn, a rate so near to an end of its range counts as at the end: a share of its logarithm."""


@dataclass(frozen=True)
class Result:
    """What of a trial that is over decides what is asked next."""

    planned: Planned
    status: Status
    score: float | None = None
    """On the validation split, higher being better; None where there is none."""
    seconds: float = 0.0
    """Wall time of the whole trial."""
    curve: tuple[tuple[int, float | None], ...] = ()
    """Step and score of each validation; None where it was no finite number."""


@dataclass(frozen=True)
class Chosen:
    """What a search chose."""

    setting: Setting
    score: float | None
    """Mean validation score over its seeds; None where no search trial finished."""
    ends: Mapping[str, End] = field(default_factory=dict)
    """Settings that lie at the end of everything that was tried."""
    extended: bool = False
    """One more rate beyond the end was tried."""


@dataclass(frozen=True)
class Search:
    """The search of one candidate, with its results so far."""

    spec: SearchSpec
    base: Planned
    """The candidate with its entry's own settings."""
    space: Space
    results: Sequence[Result] = ()
    shared_with: tuple[str, ...] = ()
    """Other candidates that take what it finds, since they differ from it in their rank alone."""

    def ask(self) -> list[Planned]:
        """Return the trials of the first stage that is not over; none where the search is."""
        if any(one.status == "unsupported" for one in self.results):
            return []  # no setting will change that
        for stage in (lambda: self._round, self._repeats, self._beyond, self._repeats_beyond):
            missing = [one for one in stage() if one.key not in self._found]
            if missing:
                return missing
        return []

    def choose(self) -> Chosen:
        """Return the setting with the best mean over its seeds; the entry's own where nothing finished."""
        best = self._winner(self._scores)
        if best is None:
            return Chosen(self.own, None)
        extended = any(one.purpose == "beyond" for one in self._asked)
        return Chosen(self._settings[best], fmean(self._scores[best].values()), self._ends(best), extended)

    @cached_property
    def own(self) -> Setting:
        """What the entry itself says of the settings that are varied."""
        return {name: getattr(self.base.method, name) for name in self.space.fields}

    def plan(self, setting: Setting, purpose: Purpose, place: int = 0) -> Planned:
        """Return the trial that tries a setting with one of the search's seeds."""
        method, seed = with_setting(self.base.method, setting), self.spec.seed(place)
        return replace(self.base, method=method, tuned=setting, role="search", purpose=purpose, seed=seed)

    @cached_property
    def _found(self) -> dict[str, Result]:
        return {one.planned.key: one for one in self.results}

    @cached_property
    def _asked(self) -> list[Planned]:
        return [one.planned for one in self.results]

    @cached_property
    def _settings(self) -> dict[str, Setting]:
        return {canonical(one.tuned): dict(one.tuned) for one in self._asked}

    @cached_property
    def _scores(self) -> dict[str, dict[int, float]]:
        """Setting, as it is written, to seed to score; scores that are no numbers are left out."""
        found: dict[str, dict[int, float]] = {}
        for one in self.results:
            if one.score is not None and math.isfinite(one.score):
                found.setdefault(canonical(one.planned.tuned), {})[one.planned.seed] = one.score
        return found

    @cached_property
    def _round(self) -> list[Planned]:
        """Ask for every setting once."""
        own = [self.plan(self.own, "own")] if self.spec.own else []
        if self.spec.seconds is not None:
            return list(self._within(self.spec.seconds, own))
        if self.spec.engine == "optuna":
            drawn = [self.plan(one.setting, "grid") for one in self._draw()]
            if any(one.key not in self._found for one in own):
                drawn = drawn[:1]  # whichever of the first two ends first
            return _once([*own, *drawn])
        return _once([*(self.plan(one, "grid") for one in list_grid(self.space, self.spec.trials)), *own])

    def halt(self, planned: Planned) -> list[Halving]:
        """Return what ends a drawn trial early; entries' own settings and repeats run to their end."""
        if planned.purpose != "grid":
            return []
        drawn = [one for one in self._draw() if one.setting == planned.tuned]
        return [Halving(drawn[-1].trial)]

    def _draw(self) -> list[Draw]:
        return list(draw_settings(self.spec, self.space, self.base.method.stream, self._answer))

    def _answer(self, setting: Setting) -> Answer | None:
        """Return what a setting came to in the first round."""
        found = self._found.get(self.plan(setting, "grid").key)
        return None if found is None else Answer(found.score, found.curve, found.status == "pruned")

    def _within(self, seconds: float, own: Sequence[Planned]) -> Iterator[Planned]:
        """Ask for one setting after another until their trials have taken so long."""
        spent = 0.0
        for one in _once([*own, *(self.plan(setting, "grid") for setting in refine_grid(self.space))]):
            if spent >= seconds:
                return
            yield one
            if one.key not in self._found:
                return
            spent += self._found[one.key].seconds

    def _repeats(self) -> list[Planned]:
        """Ask for the best settings of the first round once more, with new seeds."""
        first = self.spec.seed(0)
        scores = {
            canonical(one.tuned): self._scores[canonical(one.tuned)][first]
            for one in self._round
            if first in self._scores.get(canonical(one.tuned), {})
        }
        best = sorted(scores, key=lambda name: (-scores[name], self._distance(name)))[: self.spec.best]
        return [self.plan(self._settings[name], "repeat", place) for name in best for place in self._further]

    @property
    def _further(self) -> range:
        return range(1, 1 + self.spec.repeats)

    def _beyond(self) -> list[Planned]:
        """Ask for one more rate where the best one lies at the end of those tried, on a grid."""
        within = self._tried_within
        best = self._winner({name: self._scores[name] for name in within if name in self._scores})
        if best is None or self.spec.engine != "grid":
            return []
        setting = within[best]
        for name, (low, high) in self.space.ranges.items():
            rates = [one[name] for one in within.values() if _same_but(one, setting, name)]
            inside = setting[name] is None or round_rate(low) < setting[name] < round_rate(high)
            if len(set(rates)) > 1 and not inside and setting[name] in (min(rates), max(rates)):
                return [self.plan({**setting, name: step_beyond(rates, setting[name])}, "beyond")]
        return []

    def _repeats_beyond(self) -> list[Planned]:
        """Ask for the rate beyond the end with the other seeds too, where it is better than the end with the first."""
        within = self._tried_within
        best = self._winner({name: self._scores[name] for name in within if name in self._scores})
        found: list[Planned] = []
        for one in self._beyond():
            own, first = self._scores.get(canonical(one.tuned), {}), self.spec.seed(0)
            if best is not None and first in own and own[first] > self._scores[best].get(first, -math.inf):
                found += [self.plan(dict(one.tuned), "repeat", place) for place in self._further]
        return found

    @property
    def _tried_within(self) -> dict[str, Setting]:
        """Settings of the first round by name: what came later does not move what was best of them."""
        return {canonical(one.tuned): dict(one.tuned) for one in self._round}

    def _winner(self, scores: Mapping[str, Mapping[int, float]]) -> str | None:
        """Return the setting with the best mean of those with the most seeds."""
        most = max((len(own) for own in scores.values()), default=0)
        means = {name: fmean(own.values()) for name, own in scores.items() if len(own) == most}
        return min(means, key=lambda name: (-means[name], self._distance(name))) if means else None

    def _distance(self, name: str) -> float:
        """Say how far a setting is from the middle of the ranges, to choose among equals; the entry's own is nearest.

        Few validation rows make equal scores, and the end of a range should not be chosen for coming first.
        """
        setting = self._settings[name]
        if setting == self.own:
            return -1.0
        ends = self.space.ranges.items()
        return sum(
            abs(math.log(setting[field] / math.sqrt(low * high))) for field, (low, high) in ends if setting[field]
        )

    def _ends(self, best: str) -> dict[str, End]:
        """Say which settings of the best one lie at an end."""
        setting, ends = self._settings[best], dict[str, End]()
        for name, (low, high) in self.space.ranges.items():
            tried = [one[name] for one in self._settings.values() if isinstance(one[name], float)]
            reach = NEAR_END * math.log(high / low) if self.spec.engine == "optuna" else 0.0
            low, high = (low, high) if reach else (min(tried, default=low), max(tried, default=high))  # noqa: PLW2901
            ends |= _end_of(name, setting[name], low * math.exp(reach), high * math.exp(-reach))
        for name, values in self.space.choices.items():
            numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
            if len(numbers) == len(values) > 2:
                ends |= _end_of(name, setting[name], min(numbers), max(numbers))
        return ends


def _end_of(name: str, value: Any, low: float, high: float) -> dict[str, End]:
    if value is None or low >= high:
        return {}
    return {name: "low"} if value <= low else {name: "high"} if value >= high else {}


def _same_but(one: Setting, other: Setting, name: str) -> bool:
    """Whether two settings differ in one rate at most, and both have a number for it."""
    rest = [key for key in other if key != name]
    return all(one[key] == other[key] for key in rest) and isinstance(one[name], float)


def _once(planned: Sequence[Planned]) -> list[Planned]:
    """Leave out what is asked for a second time."""
    return list({one.key: one for one in reversed(planned)}.values())[::-1]
