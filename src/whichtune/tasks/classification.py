"""Classification, two to thousands of classes: what all of it shares, and that of one text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.layers.heads import HeadRequest
from whichtune.models.batch import Encoded
from whichtune.models.encoder import TextEncoder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores
from whichtune.spec.tasks import PairClassificationSpec, TextClassificationSpec
from whichtune.stats.scores import score_predictions
from whichtune.tasks.scored import Scored

KEPT_LABELS = 64
"""Up to so many labels all probabilities of a prediction are kept; beyond, the predicted one's alone."""


class Classification:
    """One label for each example, however many texts it is read from; `encode` is left to the task."""

    def __init__(self, spec: TextClassificationSpec | PairClassificationSpec, labels: tuple[str, ...]) -> None:
        self.spec = spec
        self.labels = labels
        self._index: dict[str | None, int] = {None: -1} | {label: index for index, label in enumerate(labels)}

    @property
    def metric(self) -> str:
        """The metric that choices and comparisons use."""
        return self.spec.metric

    def head(self) -> HeadRequest:
        """One output a label."""
        return HeadRequest(outputs=len(self.labels))

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the label index of each example, -1 where its label is not known."""
        return np.array([self._index[example.gold] for example in examples], dtype=np.int64)

    def count(self, targets: Tensor, weights: Tensor | None = None) -> float:
        """Count the targets a loss is divided by, or add up what their classes weigh."""
        valid = targets >= 0
        return int(valid.sum()) if weights is None else float(weights[targets[valid]].sum())

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
        """Return the cross-entropy summed over valid targets (in fp32, nats) and what it is divided by."""
        total = functional.cross_entropy(outputs.float(), targets, weights, ignore_index=-1, reduction="sum")
        return total, self.count(targets, weights)

    def score(self, outputs: Tensor, targets: Tensor) -> Scored:
        """Read predictions off the outputs of one batch; the loss of a row without a target is not a number."""
        log_shares = functional.log_softmax(outputs.float(), dim=-1)
        top, predicted = log_shares.max(dim=-1)
        losses = functional.nll_loss(log_shares, targets, ignore_index=-1, reduction="none")
        losses = losses.masked_fill(targets == -1, float("nan"))
        kept = log_shares.exp().numpy(force=True) if len(self.labels) <= KEPT_LABELS else None
        return Scored(predicted.numpy(force=True), top.exp().numpy(force=True), losses.numpy(force=True), kept)

    def score_shares(self, shares: np.ndarray, targets: np.ndarray) -> Scored:
        """Read predictions off probabilities that no model made (baselines), [rows, labels]."""
        with np.errstate(divide="ignore"):
            logs = torch.from_numpy(np.log(shares.astype(np.float64)))
        return self.score(logs, torch.from_numpy(targets))

    def tabulate(self, split: str, examples: Sequence[Example], scored: Scored) -> Predictions:
        """Put scored rows beside their examples."""
        return Predictions(
            split=split,
            ids=[example.id for example in examples],
            gold=[example.gold for example in examples],
            parsed=[self.labels[index] if index >= 0 else None for index in scored.predicted],
            confidence=scored.confidence,
            loss=scored.loss,
            probabilities=scored.probabilities,
            group=None if all(example.group is None for example in examples) else [one.group for one in examples],
            labels=self.labels,
        )

    def evaluate(self, predictions: Predictions) -> SplitScores:
        """Compute every metric from the records alone, the study's own metric first."""
        return score_predictions(predictions, self.labels, self.metric)


class TextClassification(Classification):
    """One label for one text."""

    def encode(self, examples: Sequence[Example], encoder: TextEncoder, max_length: int) -> Encoded:
        """Turn texts into token ids, cut to `max_length` tokens."""
        return encoder.encode([example.text for example in examples], self.targets(examples), max_length)
