"""What a candidate costs by one figure: seconds, peak memory or operations; not known is None with its reason.

Seconds are those of training, once for the final training and once for each search trial, and those of the predictions
that a study expects. Both are measured *alone* (a probe in a fresh process on the plain path). Where some trained
candidate was not probed, all candidates are priced by what their trials took in this study instead, and the title says
so: a price alone beside a price that shared a cache would compare the sharing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from whichtune.records.trial import Probe, TrialRecord
from whichtune.report.model import CandidateRow, Figure, LatencyRow
from whichtune.report.verdict_model import Axis
from whichtune.spec.verdict import CostSpec

AXES: tuple[Axis, ...] = ("seconds", "peak_bytes", "flops")
SPLIT = "test"


@dataclass(frozen=True)
class Spending:
    """What the price of one candidate is made of."""

    row: CandidateRow
    trials: Sequence[TrialRecord]
    """Its final trials."""
    searched: int = 0
    """Trials in which its settings were searched."""
    probe: Probe | None = None
    latencies: Sequence[LatencyRow] = ()
    """Times of prompts and new tokens, where answers are words."""

    @property
    def finished(self) -> list[TrialRecord]:
        """Its trials with a result."""
        return [one for one in self.trials if one.status == "finished"]


def measured_alone(spendings: Iterable[Spending]) -> bool:
    """Tell whether every trained candidate that finished was probed, and its steps counted."""
    trained = [one for one in spendings if one.row.family == "tuner" and one.finished]
    return all(one.row.costs.step_seconds.value is not None and _mean_steps(one) is not None for one in trained)


def price(one: Spending, axis: Axis, predictions: int, *, alone: bool = True) -> Figure:
    """Return what a candidate costs on an axis."""
    if not one.finished:
        return Figure(reason="no finished trial")
    if axis == "peak_bytes":
        return _price_memory(one)
    if axis == "flops":
        return _price_operations(one, predictions)
    training = train_seconds(one, alone=alone)
    answers = answer_seconds(one, alone=alone) if predictions else Figure(value=0.0)
    return _add(_times(training, 1 + one.searched), _times(answers, predictions))


def title_cost(cost: CostSpec, *, alone: bool) -> str:
    """Say what the cost is made of."""
    if cost.axis == "peak_bytes":
        return "peak memory of a training step (of asking, where nothing is trained), measured alone"
    answers = f" + {cost.predictions:,} predictions" if cost.predictions else ""
    if cost.axis == "flops":
        return f"operations of training x (1 + search trials){answers}"
    if alone:
        return f"training seconds alone x (1 + search trials){f'{answers} x latency' if answers else ''}"
    return f"training seconds in this study x (1 + search trials){answers}; not every candidate was probed alone"


def train_seconds(one: Spending, *, alone: bool = True) -> Figure:
    """Return the seconds of one training: of fitting for a baseline, none where nothing is trained."""
    if one.row.family == "prompter":
        return Figure(value=0.0)
    costs = one.row.costs
    if one.row.family == "baseline" or not alone:
        return costs.training_seconds
    steps = _mean_steps(one)
    if costs.step_seconds.value is None or steps is None:
        return Figure(reason=costs.step_seconds.reason or "its steps were not recorded")
    return Figure(value=costs.step_seconds.value * steps)


def answer_seconds(one: Spending, *, alone: bool = True) -> Figure:
    """Return the seconds of one answer: of a row by itself where a probe timed it, else of a row of the test split.

    A merged adapter is timed merged, since that is how it would be used.
    """
    if alone and one.row.family != "baseline":
        costs = one.row.costs
        for figure in (costs.latency_one_merged, costs.latency_one):
            if figure.value is not None:
                return figure
        spoken = _spoken_seconds(one)
        if spoken is not None:
            return Figure(value=spoken)
        if costs.item_seconds.value is not None:
            return costs.item_seconds
    return _predict_seconds(one)


def _price_memory(one: Spending) -> Figure:
    """A baseline was not probed; its own trial's peak is what is known of it."""
    if one.row.family != "baseline":
        return one.row.costs.peak_bytes
    peaks = [phase.peak_bytes for trial in one.finished for phase in trial.phases.values()]
    known = [peak for peak in peaks if peak is not None]
    return Figure(value=float(max(known))) if known else Figure(reason="the peak of its trial was not measured")


def _price_operations(one: Spending, predictions: int) -> Figure:
    if one.row.family != "tuner":
        return Figure(reason="operations are counted in training steps alone, and it has none")
    forward, backward = one.row.costs.forward_flops, one.row.costs.backward_flops
    steps, rows = _mean_steps(one), None if one.probe is None else one.probe.alone.examples_per_step
    if forward.value is None or backward.value is None or steps is None:
        return Figure(reason=forward.reason or backward.reason or "its steps were not recorded")
    training = (forward.value + backward.value) * steps * (1 + one.searched)
    if predictions and not rows:
        return Figure(reason="its probe did not record the rows of a step")
    return Figure(value=training + (forward.value / rows * predictions if rows else 0.0))


def _mean_steps(one: Spending) -> float | None:
    steps = [trial.steps for trial in one.finished if trial.steps is not None]
    return fmean(steps) if steps else None


def _spoken_seconds(one: Spending) -> float | None:
    """Prompt and new tokens of one row, in the form that it would be used in."""
    tokens = one.row.costs.tokens_out.value
    ways = {row.way: row for row in one.latencies if row.batch == 1}
    for way in ("merged", "unmerged", "plain"):
        row = ways.get(way)
        if row is not None and tokens is not None and row.prefill_seconds is not None:
            return row.prefill_seconds + tokens * (row.decode_seconds or 0.0)
    return None


def _predict_seconds(one: Spending) -> Figure:
    """Time of the test pass, a row."""
    times = [
        trial.phases["predict"].seconds / trial.scores[SPLIT].rows
        for trial in one.finished
        if "predict" in trial.phases and SPLIT in trial.scores and trial.scores[SPLIT].rows
    ]
    return Figure(value=fmean(times)) if times else Figure(reason="its time of answering was not recorded")


def _times(figure: Figure, count: float) -> Figure:
    return figure if figure.value is None else Figure(value=figure.value * count)


def _add(first: Figure, second: Figure) -> Figure:
    if first.value is None or second.value is None:
        return first if first.value is None else second
    return Figure(value=first.value + second.value)
