"""From evidence to a verdict: legal sentences and the price list that they rest on.

Candidates within the user's limits are compared; those outside stand in the list as reference rows, and so do those
without scores. Baselines are candidates like others: where nothing is shown to beat them, the cheapest way that is good
enough may well be one. There is no verdict while a candidate that varies has fewer than three trainings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.report import sentences
from whichtune.report.limits import Breach, find_breaches, find_nearest
from whichtune.report.model import CandidateRow, Figure, MetricHead
from whichtune.report.pricing import AXES, Spending, measured_alone, price, title_cost
from whichtune.report.quality import SPLIT, Evidence
from whichtune.report.scope import say_alone
from whichtune.report.trainings import Trainings, count_trainings, find_majority
from whichtune.report.uses import count_use, fingerprint_rows
from whichtune.report.verdict_model import Axis, Choice, Price, Verdict
from whichtune.report.waiting import count_waiting
from whichtune.spec.study import StudySpec
from whichtune.stats.decision import (
    Decision,
    Option,
    beats_baselines,
    choose,
    find_unpriced,
    is_priced,
    reach_decision,
)
from whichtune.stats.intervals import CandidateSample, estimate_difference
from whichtune.stats.metrics import METRICS
from whichtune.stats.pairs import margin_amount

ENOUGH = 3
"""Trainings that a candidate needs for a verdict."""
MARGINS = (0.5, 1.0, 2.0, 3.0, 5.0)
"""What other margins would recommend is told of these, in points."""
AXIS_TITLES: dict[Axis, str] = {"seconds": "time", "peak_bytes": "peak memory", "flops": "operations"}
TOO_FEW_SCORES = "fewer than two of its trainings have a score"


@dataclass(frozen=True)
class Case:
    """Everything that a verdict is taken from."""

    study: StudySpec
    metric: MetricHead
    rows: Sequence[CandidateRow]
    evidence: Mapping[str, Evidence]
    spendings: Mapping[str, Spending]

    @property
    def trials(self) -> list[TrialRecord]:
        """The final trials of all candidates."""
        return [trial for one in self.spendings.values() for trial in one.trials]

    @cached_property
    def alone(self) -> bool:
        """Costs are those of probes."""
        return measured_alone(self.spendings.values())

    @cached_property
    def samples(self) -> dict[str, CandidateSample]:
        """Scores of the first metric, of candidates that have them."""
        found = {name: one.samples.get(self.metric.name) for name, one in self.evidence.items()}
        return {name: sample for name, sample in found.items() if sample is not None}

    @cached_property
    def breaches(self) -> dict[str, list[Breach]]:
        """Limits that candidates with scores break; only those that break any."""
        found = {
            name: find_breaches(self.spendings[name], self.study.limits, alone=self.alone) for name in self.samples
        }
        return {name: own for name, own in found.items() if own}

    @cached_property
    def within(self) -> list[CandidateRow]:
        """Candidates with scores within the limits."""
        return [row for row in self.rows if row.candidate in self.samples and row.candidate not in self.breaches]

    @cached_property
    def trainings(self) -> dict[str, Trainings]:
        """Trainings of every candidate."""
        majority = find_majority(self.rows, self.metric)
        return {
            row.candidate: count_trainings(row, self.spendings[row.candidate].trials, self.metric, majority)
            for row in self.rows
        }

    @cached_property
    def compared(self) -> list[CandidateRow]:
        """Members of the comparison: within the limits, with a variance over seeds where there is one."""
        return [row for row in self.within if row.deterministic or row.candidate in self.repeated]

    @cached_property
    def repeated(self) -> set[str]:
        """Candidates with the scores of two trainings or more."""
        return {name for name, sample in self.samples.items() if sample.seeds > 1}

    def short(self, count: int) -> list[str]:
        """Name the candidates that vary and have so many trainings."""
        return [row.candidate for row in self.varied if self.trainings[row.candidate].count == count]

    @cached_property
    def varied(self) -> list[CandidateRow]:
        """Candidates within the limits that another seed may change."""
        return [row for row in self.within if not row.deterministic]

    def costs(self, axis: Axis) -> dict[str, Figure]:
        """Return the cost of every candidate on an axis."""
        count = self.study.cost.predictions
        return {name: price(one, axis, count, alone=self.alone) for name, one in self.spendings.items()}

    def options(self, axis: Axis) -> list[Option]:
        """Return the members of the comparison with their costs on an axis."""
        costs = self.costs(axis)
        return [
            Option(
                self.samples[row.candidate], costs[row.candidate].value, self.trainings[row.candidate].collapsed == 0
            )
            for row in self.compared
        ]

    @cached_property
    def decision(self) -> Decision | None:
        """What the evidence allows; None with one member, or while one that varies has too few trainings."""
        if len(self.compared) < 2 or any(self.trainings[row.candidate].count < ENOUGH for row in self.varied):
            return None
        return reach_decision(self.options(self.study.cost.axis), self.margin(self.study.margin))

    def margin(self, points: float) -> float:
        """Turn a margin as the study gives it into units of the metric."""
        return margin_amount(METRICS[self.metric.name], points, [self.samples[row.candidate] for row in self.within])


def take_verdict(case: Case) -> Verdict | None:
    """Say what the evidence allows; None without scores of single rows, with some of them lost, or without costs."""
    if not case.samples or list_untaken(case):
        return None
    cost, margin, decision = case.study.cost, case.margin(case.study.margin), case.decision
    shown = None if decision is None or decision.shown is None else decision.shown.name
    guessed = None if decision is None or decision.guess is None else decision.guess.name
    verdict = Verdict(
        sentences=list(_say(case, decision)),
        recommended=shown,
        guess=guessed,
        margin=margin,
        axis=cost.axis,
        cost_title=title_cost(cost, alone=case.alone),
        prices=_list_prices(case, decision),
    )
    if decision is not None:
        verdict.other_margins = list(_try_margins(case, decision))
        verdict.other_axes = list(_try_axes(case, decision))
    return verdict


def judge(folder: StudyFolder, case: Case) -> Verdict | None:
    """Take the verdict of a study whose trials are all over, and count it as a use of its test rows."""
    verdict = None if count_waiting(folder, case.trials) else take_verdict(case)
    if verdict is not None:
        verdict.test_uses = count_look(folder, case)
    return verdict


def count_look(folder: StudyFolder, case: Case) -> int:
    """Count a look at the test scores of a study as a use of its test rows; return how many there are by now."""
    ids = next((sample.ids for sample in case.samples.values()), ())
    rows = fingerprint_rows(folder, SPLIT, ids)
    return count_use(folder, rows, [trial.id for trial in case.trials if trial.status == "finished"])


def list_untaken(case: Case) -> list[str]:
    """Say why there is no verdict; nothing where there is one.

    A candidate whose predictions were deleted might be the best: nothing is promised over the others alone.
    """
    lost = [f"{name} ({one.reason})" for name, one in case.evidence.items() if one.trials and one.reason is not None]
    return [f"No verdict: scores of single rows are lost of {'; '.join(lost)}."] if lost else list_unpriced(case)


def list_unpriced(case: Case) -> list[str]:
    """Say why there is no verdict where costs do not tell which candidate is the cheapest; nothing where they do."""
    axis, decision = case.study.cost.axis, case.decision
    if decision is None or is_priced(case.options(axis), decision.shortfalls, decision.margin):
        return []
    reasons = _group_unpriced(case, [row.candidate for row in case.compared])
    told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    return [f"No verdict: which candidate is the cheapest is not known, for want of the cost of {told}."]


def _group_unpriced(case: Case, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the candidates without a cost by the reason."""
    costs = case.costs(case.study.cost.axis)
    reasons: dict[str, list[str]] = {}
    for name in names:
        if costs[name].value is None:
            reasons.setdefault(costs[name].reason or "not recorded", []).append(name)
    return reasons


def _say(case: Case, decision: Decision | None) -> Iterator[str]:
    if not case.within:
        yield sentences.exclude_all(*find_nearest(case.breaches))
        return
    if _nothing_beats_baselines(case):
        yield sentences.NO_BETTER
    if len(case.within) == 1 and case.within[0].quality[0].low is not None:
        yield say_alone(case.within[0], case.metric)
    for count, write in ((1, sentences.compare_models), (2, sentences.need_third)):
        held = case.short(count)
        if held:
            yield write([] if len(held) == len(case.varied) else held)
    if decision is not None:
        yield from _say_decision(decision, case.metric.unit)
        yield from _say_unpriced(case, decision)
    for row in case.rows:
        own = case.trainings[row.candidate]
        if own.collapsed and row.candidate not in case.breaches:
            yield sentences.collapse(row.candidate, own.collapsed, own.count)
    if case.breaches:
        yield sentences.price_limits([row.candidate for row in case.within], _cost_of_limits(case), case.metric.unit)


def _say_decision(decision: Decision, unit: str) -> Iterator[str]:
    margin, shown, guess = decision.margin, decision.shown, decision.guess
    if shown is not None:
        told = sentences.recommend(shown.name, shown.estimate, shown.bound, margin, unit)
        if decision.unsettled is not None:
            told += f" {sentences.leave_open(decision.unsettled.name, decision.needs)}"
        elif decision.dearer_only:
            told += f" {sentences.rule_out_cheaper(margin, unit)}"
        yield told
    elif decision.promise is not None:
        told = sentences.promise(decision.promise.name, decision.promise.bound, margin, unit)
        if guess is not None:
            told += f" {sentences.guess(guess.name, (guess.estimate, guess.bound), margin, unit, decision.needs)}"
        yield told


def _say_unpriced(case: Case, decision: Decision) -> Iterator[str]:
    """Name the candidates that the cheapest one was not weighed against."""
    if decision.shown is None:
        return
    unpriced = find_unpriced(case.options(case.study.cost.axis), decision.shortfalls, decision.margin)
    if unpriced:
        yield sentences.miss_costs(_group_unpriced(case, unpriced))


def _nothing_beats_baselines(case: Case) -> bool:
    """Whether candidates were tried beside a baseline and none is shown above all baselines.

    Where all that were scored are outside the limits, nothing is said of them.
    """
    bars = [case.samples[row.candidate] for row in case.within if row.baseline]
    others = [case.samples[row.candidate] for row in case.within if not row.baseline]
    tried = [row.candidate for row in case.rows if not row.baseline]
    if not bars or not tried or (not others and any(name in case.breaches for name in tried)):
        return False
    return not beats_baselines(others, bars)


def _cost_of_limits(case: Case) -> tuple[float, float, float] | None:
    """Return how far the best candidate outside is above the best within, with its 95 % interval.

    Both were picked as the best of several, and the interval is widened for every pair that they were picked from.
    None where one training each of what varies is all there is on a side: its variance over seeds is not known.
    """
    known = [row for row in case.rows if row.deterministic or row.candidate in case.repeated]
    outside = [case.samples[row.candidate] for row in known if row.candidate in case.breaches]
    within = [case.samples[row.candidate] for row in known if row in case.within]
    if not outside or not within:
        return None
    gap = estimate_difference(max(outside, key=lambda one: one.total), max(within, key=lambda one: one.total))
    low, high = gap.interval(1 - 0.05 / (len(outside) * len(within)))
    return gap.value, low, high


def _list_prices(case: Case, decision: Decision | None) -> list[Price]:
    costs = case.costs(case.study.cost.axis)
    members = {row.candidate for row in (case.within if decision is None else case.compared)}
    best = max((case.samples[name].total for name in members), default=math.nan)
    listed = [_price(case, row, costs[row.candidate], decision) for row in case.rows]
    for one in listed:
        if one.candidate in members:
            one.estimate = best - case.samples[one.candidate].total
    return sorted(listed, key=lambda one: (one.cost is None, one.cost or 0.0))


def _price(case: Case, row: CandidateRow, cost: Figure, decision: Decision | None) -> Price:
    name, own = row.candidate, case.trainings[row.candidate]
    quality = row.quality[0] if row.quality else None
    price_row = Price(
        candidate=name,
        cost=cost.value,
        reason=cost.reason,
        trainings=own.count,
        collapsed=own.collapsed,
        collapse_bound=own.bound,
        absent=_why_absent(case, row),
        outside=[breach.clause for breach in case.breaches.get(name, [])],
    )
    if quality is not None:
        price_row.score, price_row.low, price_row.high = quality.mean, quality.low, quality.high
    if decision is not None and name in decision.shortfalls:
        shortfall = decision.shortfalls[name]
        price_row.alive = shortfall.alive
        price_row.guaranteed = shortfall.bound if math.isfinite(shortfall.bound) else None
        price_row.recommended = decision.shown is shortfall
        price_row.guessed = decision.guess is shortfall
    return price_row


def _why_absent(case: Case, row: CandidateRow) -> str | None:
    if row.candidate not in case.samples:
        return row.reason or (row.quality[0].reason if row.quality else None) or "no result"
    few = row in case.within and row not in case.compared and case.trainings[row.candidate].count >= ENOUGH
    return TOO_FEW_SCORES if few else None


def _try_margins(case: Case, decision: Decision) -> Iterator[Choice]:
    options = case.options(case.study.cost.axis)
    for points in MARGINS:
        if points != case.study.margin and is_priced(options, decision.shortfalls, case.margin(points)):
            said = f"{points:g} % of the best loss" if case.metric.unit == "nats" else f"{points:g} points"
            said = "1 point" if said == "1 points" else said
            yield _choose(said, options, decision, case.margin(points))


def _try_axes(case: Case, decision: Decision) -> Iterator[Choice]:
    for axis in AXES:
        if axis != case.study.cost.axis:
            options = case.options(axis)
            if is_priced(options, decision.shortfalls, decision.margin):
                yield _choose(AXIS_TITLES[axis], options, decision, decision.margin)


def _choose(said: str, options: Sequence[Option], decision: Decision, margin: float) -> Choice:
    chosen = choose(options, decision.shortfalls, margin)
    unpriced = [] if chosen is None else find_unpriced(options, decision.shortfalls, margin)
    return Choice(said=said, candidate=chosen, unpriced=unpriced)
