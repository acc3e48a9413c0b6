"""Tasks that a causal language model answers in words: what all share, and how each is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from whichtune.data.examples import Example
from whichtune.errors import SpecError
from whichtune.layers.cross_entropy import sum_cross_entropy
from whichtune.layers.heads import HeadRequest
from whichtune.models.batch import Encoded
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import (
    InstructionClassificationSpec,
    QuestionAnsweringSpec,
    SummarizationSpec,
)
from whichtune.stats.scores import score_answers, score_instruction, score_summaries
from whichtune.tasks.answers import tabulate_texts
from whichtune.tasks.asking import Asking, encode_asked, make_asking
from whichtune.tasks.reading import Reader, require_texts
from whichtune.tasks.scored import score_shares, tabulate_scored

LanguageSpec = InstructionClassificationSpec | SummarizationSpec | QuestionAnsweringSpec
GLANCED = {"loss", "likelihood_accuracy"}
"""Metrics that need no written answer; the others would be those of answers that nobody gave."""


class LanguageTask:
    """A prompt, an answer behind it, and a loss on the answer's tokens alone; how it is scored is left to the task."""

    def __init__(self, spec: LanguageSpec, labels: tuple[str, ...], columns: Columns) -> None:
        self.spec: LanguageSpec = spec
        self.labels = labels
        self.asking: Asking = make_asking(spec, labels, columns)
        _require_plain(self.asking, spec)
        self._index: dict[str | None, int] = {label: place for place, label in enumerate(labels)}

    @property
    def metric(self) -> str:
        """The metric that choices and comparisons use."""
        return self.spec.metric

    def head(self) -> HeadRequest:
        """The backbone's own output head."""
        return HeadRequest(outputs=0)

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the label index of each example; -1 where it is not known, or where answers are texts."""
        return np.array([self._index.get(example.gold, -1) for example in examples], np.int64)

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> Encoded:
        """Encode prompts with their answers, of at most `max_length` tokens together."""
        return encode_asked(self.asking, examples, require_texts(reader), max_length)

    def count(self, targets: Tensor, weights: Tensor | None = None) -> float:
        """Count the answers' tokens."""
        return len(targets)

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
        """Return the cross-entropy summed over the answers' tokens (in fp32, nats), and their number."""
        return sum_cross_entropy(outputs, targets), len(targets)

    def sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what proves a saved adapter, [T, 2]: each target's score, and the logarithm of the sum of all."""
        own = outputs.float().gather(1, targets[:, None])
        return torch.cat([own, outputs.float().logsumexp(dim=1, keepdim=True)], dim=1)

    def tabulate_guesses(self, split: str, examples: Sequence[Example], guesses: np.ndarray | list[str]) -> Predictions:
        """Put what a baseline says beside the examples: label shares or texts."""
        if isinstance(guesses, list):
            return tabulate_texts(self.asking, split, examples, guesses)
        return tabulate_scored(split, examples, score_shares(guesses, self.targets(examples)), self.labels)

    def evaluate(self, predictions: Predictions) -> SplitScores:
        """Compute every metric from the records alone, the study's own metric first."""
        return self.rate(predictions, self.metric)

    def glance(self, predictions: Predictions) -> SplitScores:
        """Compute what is known while training, when nothing is written: the loss first."""
        scores = self.rate(predictions, "loss")
        scores.metrics = [one for one in scores.metrics if one.name in GLANCED]
        return scores

    def rate(self, predictions: Predictions, first_metric: str) -> SplitScores:
        """Compute every metric, the given one first."""
        raise NotImplementedError


class InstructionClassification(LanguageTask):
    """A label's word behind a prompt."""

    def rate(self, predictions: Predictions, first_metric: str) -> SplitScores:
        """Score labels; one that cannot be read counts as wrong."""
        return score_instruction(predictions, self.labels, first_metric)


class Summarization(LanguageTask):
    """A summary behind a prompt."""

    def rate(self, predictions: Predictions, first_metric: str) -> SplitScores:
        """Score summaries by ROUGE and loss."""
        return score_summaries(predictions, first_metric)


class QuestionAnswering(LanguageTask):
    """An answer behind a prompt, read by the wording's parser."""

    def rate(self, predictions: Predictions, first_metric: str) -> SplitScores:
        """Score answers by exact match and loss."""
        return score_answers(predictions, first_metric)


def _require_plain(asking: Asking, spec: LanguageSpec) -> None:
    """Refuse prompts that are for asking alone: with training rows in them, or with a reasoning before the answer."""
    told = "puts training rows into every prompt" if asking.recipe.shots else ""
    if asking.recipe.style.cue:
        told = "asks for a reasoning before the answer, which rows to learn from do not have"
    if told:
        raise SpecError(
            f"task.prompt {told}", value=spec.prompt.style, allowed="a style with neither",
            remedy="set it on a method instead: `methods: {few-shot: {kind: prompting, style: few-shot}}`",
        )  # fmt: skip
