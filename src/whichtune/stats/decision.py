"""From shortfalls, costs and a margin to what may be recommended, and what would settle the rest.

A candidate is *shown* if its shortfall from the best is at most the margin at 95 %, for all candidates together. The
cheapest shown one is recommended. Where none is, the cheapest one with a bound and with its estimate within the margin
is a guess.

A candidate whose cost is not known is ranked behind the others: it is never called cheaper than another, nor another
cheaper than it. Those that might be a cheaper way all the same are named (`find_unpriced`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from whichtune.stats.best import ERROR_ALIVE, Shortfall, measure_shortfalls, smallest_promise
from whichtune.stats.intervals import CandidateSample, Estimate, estimate_difference
from whichtune.stats.power import Needs, find_rivals, gather_needs, measure_needs

ERROR_BEATEN = 0.05
"""Error of saying that some candidate beats every baseline."""
UNKNOWN_NEEDS = Needs(None, None)


@dataclass(frozen=True)
class Option:
    """A candidate that a verdict may choose."""

    sample: CandidateSample
    cost: float | None
    """None where it is not known."""
    sound: bool = True
    """No training of it collapsed; others are compared, but never recommended."""

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.sample.name

    @property
    def rank(self) -> tuple[bool, float, float, str]:
        """Sorts the cheapest first; of equal costs the better one."""
        return self.cost is None, self.cost or 0.0, -self.sample.total, self.name


@dataclass(frozen=True)
class Decision:
    """What the evidence allows."""

    margin: float
    shortfalls: Mapping[str, Shortfall]
    shown: Shortfall | None = None
    """The cheapest candidate within the margin."""
    unsettled: Shortfall | None = None
    """The cheapest of those cheaper than the shown one that are not shown to be further below than the margin."""
    dearer_only: bool = False
    """There are cheaper ones, and each is shown to be further below than the margin."""
    promise: Shortfall | None = None
    """The candidate with the least bound; None where no sound candidate has one."""
    guess: Shortfall | None = None
    """Where nothing is shown: the cheapest that has its estimate within the margin."""
    needs: Needs = UNKNOWN_NEEDS
    """What would settle the unsettled one, or show the guess."""


def reach_decision(options: Sequence[Option], margin: float) -> Decision:
    """Decide among two or more candidates that were scored on the same items; the margin is in units of the metric."""
    samples = [option.sample for option in options]
    listed = measure_shortfalls(samples)
    shortfalls = {one.name: one for one in listed}
    ranked = sorted(options, key=lambda option: option.rank)
    sound = [shortfalls[option.name] for option in ranked if option.sound]
    decision = Decision(margin, shortfalls, promise=smallest_promise(sound) if sound else None)
    chosen = choose(ranked, shortfalls, margin)
    if chosen is None:
        guess = next((one for one in sound if one.estimate <= margin), None)
        needs = UNKNOWN_NEEDS if guess is None else measure_needs(samples, listed, guess.name, margin)
        return replace(decision, guess=guess, needs=needs)
    shown = shortfalls[chosen]
    own = next(option for option in ranked if option.name == chosen)
    cheaper = [option for option in ranked if own.cost is not None and option.rank[:2] < own.rank[:2]]
    open_ones = [option for option in cheaper if shortfalls[option.name].least <= margin]
    waiting = [shortfalls[option.name] for option in open_ones if option.sound]
    decision = replace(decision, shown=shown, dearer_only=bool(cheaper) and not open_ones)
    if not waiting:
        return decision
    return replace(decision, unsettled=waiting[0], needs=settle(samples, listed, waiting[0], margin))


def choose(options: Sequence[Option], shortfalls: Mapping[str, Shortfall], margin: float) -> str | None:
    """Return the cheapest sound candidate whose bound is within the margin."""
    ranked = sorted(options, key=lambda option: option.rank)
    return next((one.name for one in ranked if one.sound and shortfalls[one.name].bound <= margin), None)


def is_priced(options: Sequence[Option], shortfalls: Mapping[str, Shortfall], margin: float) -> bool:
    """Tell whether costs say which shown candidate is the cheapest: some are known, and one of them is of a shown one.

    It is not needed where fewer than two are shown.
    """
    shown = [one.cost for one in options if one.sound and shortfalls[one.name].bound <= margin]
    known = any(one.cost is not None for one in options)
    return known and (len(shown) < 2 or any(cost is not None for cost in shown))


def find_unpriced(options: Sequence[Option], shortfalls: Mapping[str, Shortfall], margin: float) -> list[str]:
    """Name the sound candidates of unknown cost that are not shown to be further below the best than the margin."""
    return [one.name for one in options if one.sound and one.cost is None and shortfalls[one.name].least <= margin]


def settle(samples: Sequence[CandidateSample], shortfalls: Sequence[Shortfall], own: Shortfall, margin: float) -> Needs:
    """Return what would settle whether a candidate is within the margin of the best, whichever its estimate says."""
    if own.estimate <= margin:
        return measure_needs(samples, shortfalls, own.name, margin)
    ours, rivals = find_rivals(samples, shortfalls, own.name)
    return gather_needs([(rival, ours) for rival in rivals], -margin, ERROR_ALIVE / (len(samples) - 1))


def beats_baselines(others: Sequence[CandidateSample], baselines: Sequence[CandidateSample]) -> bool:
    """Tell whether some candidate is shown to be above every baseline, 95 % for all candidates together."""
    error = ERROR_BEATEN / max(1, len(others))
    return any(all(_lower(estimate_difference(one, bar), error) > 0 for bar in baselines) for one in others)


def _lower(difference: Estimate, error: float) -> float:
    return difference.value - difference.quantile(1 - error) * difference.standard_error
