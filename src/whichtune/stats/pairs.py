"""What may be said of two candidates, and nothing else.

Two questions are asked of one difference, turned so that it is not negative, and of a margin d:

- *better*: its 95 % interval lies above 0;
- *near*: its 90 % interval lies inside -d..d (two one-sided tests at 5 %, Schuirmann 1987).

Each answer is yes or no, so exactly one of four calls holds:

| better | near | call |
|---|---|---|
| yes | no | better by x (lo..hi) |
| yes | yes | better, but by less than d |
| no | yes | within d of each other |
| no | no | not settled |

A difference that was not found is never called an absent one: only *near* speaks of nearness, and it needs evidence
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from whichtune.stats.intervals import CandidateSample, Estimate, estimate_difference
from whichtune.stats.metrics import Metric

Call = Literal["better", "better-within-margin", "within-margin", "not-settled"]


@dataclass(frozen=True)
class Pair:
    """Two candidates on one metric, the one with the higher estimate first."""

    first: str
    second: str
    difference: Estimate
    """How far the first is above the second; never negative."""
    margin: float
    """In units of the metric."""
    call: Call


def margin_amount(metric: Metric, margin: float, samples: Iterable[CandidateSample]) -> float:
    """Return a margin given in points as an amount of the metric: hundredths of a share, per cent of the best loss."""
    if metric.unit == "nats":
        return margin / 100 * abs(max((sample.total for sample in samples), default=0.0))
    return margin / 100 if metric.unit == "share" else margin


def compare_pair(one: CandidateSample, other: CandidateSample, margin: float) -> Pair:
    """Compare two candidates over the same items; the margin is in units of the metric."""
    first, second = (one, other) if one.total >= other.total else (other, one)
    difference = estimate_difference(first, second)
    return Pair(first.name, second.name, difference, margin, decide(difference, margin))


def decide(difference: Estimate, margin: float) -> Call:
    """Return the one call that holds of a difference that is not negative."""
    low, high = difference.interval(0.90)
    near = -margin <= low and high <= margin
    if difference.interval(0.95)[0] > 0:
        return "better-within-margin" if near else "better"
    return "within-margin" if near else "not-settled"


def phrase(call: Call, amount: str, low: str, high: str, margin: str) -> str:
    """Return the sentence of a call, with figures already written in the reader's unit."""
    return {
        "better": f"better by {amount} ({low}..{high})",
        "better-within-margin": f"better, but by less than {margin}",
        "within-margin": f"within {margin} of each other",
        "not-settled": "not settled",
    }[call]
