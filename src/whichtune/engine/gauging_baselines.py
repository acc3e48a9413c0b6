"""Estimating a baseline: it is fitted to some of its rows, here and now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from whichtune.engine.trial import Material, run_baseline
from whichtune.measure.clock import PhaseClock
from whichtune.spec.methods import MethodSpec

TRIED_ROWS = 2_000
"""Rows of each split at most; the seconds of more are taken in proportion."""


@dataclass(frozen=True)
class Fitted:
    """Seconds of a baseline over all rows."""

    fitting: float
    validation: float
    test: float
    notes: list[str] = field(default_factory=list)


def gauge_baseline(method: MethodSpec, material: Material) -> Fitted:
    """Fit and ask a baseline over some of the rows."""
    examples = material.data.examples
    some = {split: rows[:TRIED_ROWS] for split, rows in examples.items()}
    clock = PhaseClock()
    run_baseline(method, replace(material, data=replace(material.data, examples=some)), clock)
    phases = clock.read().phases
    times = {split: len(rows) / max(1, len(some[split])) for split, rows in examples.items()}
    named = {"train": "step", "validation": "validate", "test": "predict"}
    seconds = {split: phases[phase].seconds * times[split] for split, phase in named.items()}
    cut = max(times.values()) > 1
    notes = [f"timed on {TRIED_ROWS:,} rows of a split, and taken in proportion"] if cut else []
    return Fitted(seconds["train"], seconds["validation"], seconds["test"], notes)
