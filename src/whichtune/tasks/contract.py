"""What the engine asks of a task: rows in, a loss and predictions out; a task never calls a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from whichtune.data.examples import Example
from whichtune.layers.heads import HeadRequest
from whichtune.models.batch import EncodedRows
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores
from whichtune.spec.tasks import TaskSpec
from whichtune.tasks.asking import Asking
from whichtune.tasks.reading import Reader
from whichtune.tasks.scored import Scored


class Task(Protocol):
    """examples -> encoded rows -> (outputs) -> loss and predictions -> scores."""

    spec: TaskSpec
    labels: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The metric that choices and comparisons use."""
        ...

    def head(self) -> HeadRequest:
        """What the head must give."""
        ...

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Gold answers as indices, -1 where they are not known."""
        ...

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> EncodedRows:
        """The examples as their model reads them, texts of at most `max_length` tokens; targets of -1 without gold."""
        ...

    def count(self, targets: Tensor, weights: Tensor | None = None) -> float:
        """What a loss is divided by: the number of its targets, or what their classes weigh together."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
        """Summed loss and what it is divided by; `weights` [classes] are of the training loss alone."""
        ...

    def sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What of a batch's outputs proves a saved adapter."""
        ...

    def tabulate_guesses(self, split: str, examples: Sequence[Example], guesses: np.ndarray | list[str]) -> Predictions:
        """What a baseline says (label shares, or texts) beside the examples."""
        ...

    def evaluate(self, predictions: Predictions) -> SplitScores:
        """Every metric, the study's own first."""
        ...


class HeadTask(Task, Protocol):
    """A task that a head of ours answers: outputs are scored row by row."""

    def score(self, outputs: Tensor, targets: Tensor) -> Scored:
        """Predictions of one batch."""
        ...

    def tabulate(self, split: str, examples: Sequence[Example], scored: Scored) -> Predictions:
        """Scored rows beside their examples."""
        ...


class WrittenTask(Task, Protocol):
    """A task that a language model answers in words."""

    asking: Asking

    def glance(self, predictions: Predictions) -> SplitScores:
        """What is known while training, when nothing is written: the loss first."""
        ...
