"""What is asked of the benchmark and what it found, as plain values that become JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Baseline = Literal["tuned", "tutorial"]
BASELINES: tuple[Baseline, ...] = ("tuned", "tutorial")
State = Literal["met", "missed", "results differ", "failed", "not run"]
BAD: tuple[State, ...] = ("missed", "results differ", "failed")
"""States that end the command with exit code 1."""


@dataclass(frozen=True)
class Asked:
    """What the command was asked for."""

    rows: tuple[str, ...]
    baseline: Baseline = "tuned"
    share: float | None = None
    """Share of its trials that the peer runs; the row's own when left out."""
    rounds: int | None = None
    """Times that both sides run; the row's own when left out."""
    texts: int | None = None
    """Training rows of every study; each row's own when left out."""
    threads: int | None = None
    quick: bool = False
    settings: tuple[str, ...] = ()
    """Overrides of every row's study, as `--set` takes them."""


@dataclass(frozen=True)
class Marks:
    """Scores of a candidate's trainings on the test rows, one row a training."""

    ids: tuple[str, ...]
    values: np.ndarray
    """[trainings, test rows] float64: 1 for a right label, or minus the loss; higher is better."""
    binary: bool


@dataclass(frozen=True)
class SideRun:
    """What one side did in one round."""

    seconds: float
    """Wall time of all the row's trials; scaled where not all were run."""
    run_trials: int
    all_trials: int
    steps: Mapping[str, frozenset[int]]
    """Optimizer steps of a candidate's trainings."""
    tokens: Mapping[str, int]
    """Tokens of the test rows, by candidate."""
    marks: Mapping[str, Marks]
    outside: float | None = None
    """Share of the wall time outside forward and backward passes, the mean of all processes; None of the peer."""
    phases: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds by phase, of all trials and of what they share."""


@dataclass(frozen=True)
class Agreement:
    """How the two sides' results compare, for one candidate."""

    candidate: str
    own: float
    """Mean score of ours: accuracy, or minus the loss."""
    other: float
    allowed: float
    """Greatest difference that passes."""
    fault: str = ""

    @property
    def apart(self) -> float:
        """How far ours is above the peer."""
        return self.own - self.other


@dataclass
class RowResult:
    """One row of the table."""

    row: str
    title: str
    state: State
    unit: str = "x"
    """`x`: how many times as fast; `share`: a part of something, less being better."""
    target: float | None = None
    measured: float | None = None
    ratios: list[float] = field(default_factory=list)
    limit: float | None = None
    """What physics would allow at most; None where it was not worked out."""
    own_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    peer_trials: str = ""
    outside: float | None = None
    phases: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds of our first round by phase."""
    agreements: list[Agreement] = field(default_factory=list)
    texts: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """Everything that one call of the benchmark found."""

    command: str
    date: str
    baseline: str
    machine: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any] | None
    matrix_flops_per_second: float
    seconds: float = 0.0
    rows: list[RowResult] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where a row missed its target, failed, or ended with other results than its peer."""
        return 1 if any(row.state in BAD for row in self.rows) else 0
