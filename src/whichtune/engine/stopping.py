"""When to validate, when to stop, and which weights to end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from whichtune.spec.training import PATIENCE, TrainingSpec

Outcome = TypeVar("Outcome")


@dataclass
class Keeper(Generic[Outcome]):
    """Validate on time, remember the best weights, and say when to stop.

    `validate(step)` returns (score, outcome), higher being better; the outcome of the kept step is given back, so
    that the validation split is not predicted twice with the same weights.
    """

    training: TrainingSpec
    every: int
    """Optimizer steps between validations."""
    last: int
    """The last step of the run, which always validates."""
    tensors: Mapping[str, Tensor]
    """What is kept of the best step."""
    validate: Callable[[int], tuple[float, Outcome]]
    stopped: bool = False
    kept_step: int = 0
    outcome: Outcome | None = None
    best: float = float("-inf")
    mark: float = float("-inf")
    waited: int = 0
    _copies: dict[str, Tensor] = field(default_factory=dict)

    def is_due(self, step: int) -> bool:
        """Tell whether it is time to validate after a step."""
        return step % self.every == 0 or step >= self.last

    def consider(self, step: int) -> None:
        """After a step: validate when it is time, and judge."""
        if not self.is_due(step):
            return
        score, outcome = self.validate(step)
        if score > self.best or self.training.keep == "last" or not self.kept_step:
            self.kept_step, self.outcome = step, outcome
            self._copy()
        self.best = max(self.best, score)
        self._judge(score)

    def _judge(self, score: float) -> None:
        """Patience runs from the last score that was better by more than the least gain; small gains are kept, too."""
        stopping = self.training.stopping
        if stopping is None:
            return
        if score > self.mark + stopping.min_gain:
            self.mark, self.waited = score, 0
        else:
            self.waited += 1
        self.stopped = self.waited >= (stopping.patience or PATIENCE)

    def put_back(self) -> None:
        """Give the tensors the values of the kept step."""
        with torch.no_grad():
            for name, copy in self._copies.items():
                self.tensors[name].copy_(copy)
        self._copies.clear()

    def _copy(self) -> None:
        if self.training.keep == "best":
            self._copies = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
