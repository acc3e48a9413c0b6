"""How much of a side's time is spent inside forward and backward passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

from whichtune.engine import speaking
from whichtune.engine.assembly import Assembly
from whichtune.measure.device import synchroniser
from whichtune.models import stepping
from whichtune.models.backbone import Backbone
from whichtune.models.output_head import OutputHead
from whichtune.tasks.classification import Classification
from whichtune.tasks.language import LanguageTask

TIMED: tuple[tuple[Any, str], ...] = (
    (Assembly, "__call__"),
    (Backbone, "run"),
    (speaking, "run_behind"),
    (stepping, "run_behind"),
    (OutputHead, "forward"),
    (Classification, "loss"),
    (LanguageTask, "loss"),
    (torch.Tensor, "backward"),
    (torch.autograd, "backward"),
)
"""Where passes begin, those that write answers too; one that begins inside another belongs to it."""


@dataclass
class Passes:
    """Seconds inside passes, losses included."""

    wait: Callable[[], object]
    seconds: float = 0.0
    depth: int = 0

    def timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that adds its time to the sum."""

        @wraps(run)
        def timed(*given: Any, **named: Any) -> Any:
            if self.depth:
                return run(*given, **named)
            self.wait()
            self.depth, start = 1, time.perf_counter()
            try:
                return run(*given, **named)
            finally:
                self.wait()
                self.seconds += time.perf_counter() - start
                self.depth = 0

        return timed


@contextmanager
def timing_passes(device: torch.device) -> Generator[Passes]:
    """Add up the time that passes take inside; the classes are given back as they were."""
    passes = Passes(synchroniser(device) or (lambda: None))
    before = [(owner, name, getattr(owner, name)) for owner, name in TIMED]
    try:
        for owner, name, run in before:
            setattr(owner, name, passes.timed(run))
        yield passes
    finally:
        for owner, name, run in before:
            setattr(owner, name, run)
