"""Classification, two to thousands of classes: what all of it shares, and that of one text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.layers.heads import HeadRequest
from whichtune.models.batch import Encoded
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import (
    ImageClassificationSpec,
    PairClassificationSpec,
    TextClassificationSpec,
    VisualQuestionAnsweringSpec,
)
from whichtune.stats.scores import score_predictions
from whichtune.tasks.reading import Reader, require_texts
from whichtune.tasks.scored import Scored, score_outputs, score_shares, tabulate_scored

ClassificationSpec = (
    TextClassificationSpec | PairClassificationSpec | ImageClassificationSpec | VisualQuestionAnsweringSpec
)


class Classification:
    """One label for each example, however many texts it is read from; `encode` is left to the task."""

    def __init__(
        self,
        spec: ClassificationSpec,
        labels: tuple[str, ...],
        columns: Columns | None = None,
    ) -> None:
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
        return score_outputs(outputs, targets)

    def sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the outputs themselves: they prove a saved adapter."""
        return outputs

    def tabulate(self, split: str, examples: Sequence[Example], scored: Scored) -> Predictions:
        """Put scored rows beside their examples."""
        return tabulate_scored(split, examples, scored, self.labels)

    def tabulate_guesses(self, split: str, examples: Sequence[Example], guesses: np.ndarray | list[str]) -> Predictions:
        """Put the label shares of a baseline beside their examples."""
        scored = score_shares(np.asarray(guesses), self.targets(examples))
        return tabulate_scored(split, examples, scored, self.labels)

    def evaluate(self, predictions: Predictions) -> SplitScores:
        """Compute every metric from the records alone, the study's own metric first."""
        return score_predictions(predictions, self.labels, self.metric)


class TextClassification(Classification):
    """One label for one text."""

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> Encoded:
        """Turn texts into token ids, cut to `max_length` tokens."""
        return require_texts(reader).encode([example.text for example in examples], self.targets(examples), max_length)
