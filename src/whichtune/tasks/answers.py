"""What language models answered, and the predictions it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whichtune.data.examples import Example
from whichtune.records.predictions import Predictions
from whichtune.tasks.asking import Asking
from whichtune.tasks.scored import KEPT_LABELS, groups_of


@dataclass(frozen=True)
class Answers:
    """The answers to some rows, in their order. Not everything is always asked for: None is what was not."""

    raw: list[str] | None = None
    """What was written."""
    log_likelihoods: np.ndarray | None = None
    """[B, labels] float64: of each label's word behind the prompt, in nats."""
    loss: np.ndarray | None = None
    """[B] float32: mean over the given answer's tokens of their negative log-likelihood, in nats."""


def tabulate_answers(asking: Asking, split: str, examples: Sequence[Example], answers: Answers) -> Predictions:
    """Put answers beside their examples.

    An answer is what can be read off the written text, or the likeliest label where that is asked for or nothing was
    written. The loss is that of the gold label among the labels where there are labels.
    """
    shares = None if answers.log_likelihoods is None else _shares(answers.log_likelihoods)
    parsed = _read(asking, answers, shares, len(examples))
    return Predictions(
        split=split,
        ids=[one.id for one in examples],
        gold=[one.gold if asking.labels else asking.expect(one.gold) for one in examples],
        parsed=parsed,
        confidence=_confidence(asking, parsed, shares),
        loss=_losses(asking, examples, answers),
        probabilities=shares if len(asking.labels) <= KEPT_LABELS else None,
        group=groups_of(examples),
        raw=None if answers.raw is None else list(answers.raw),
        labels=asking.labels,
    )


def tabulate_texts(asking: Asking, split: str, examples: Sequence[Example], texts: Sequence[str]) -> Predictions:
    """Put the texts of a baseline beside their examples; they have no loss."""
    table = tabulate_answers(asking, split, examples, Answers())
    table.raw = list(texts)
    table.parsed = [asking.expect(text) for text in texts]
    return table


def _read(asking: Asking, answers: Answers, shares: np.ndarray | None, count: int) -> list[str | None]:
    likeliest = shares is not None and (asking.scoring == "likelihood" or answers.raw is None)
    if likeliest and shares is not None:
        return [asking.labels[place] for place in shares.argmax(axis=1)]
    if answers.raw is None:
        return [None] * count
    return [asking.reader.read(text) for text in answers.raw]


def _shares(log_likelihoods: np.ndarray) -> np.ndarray:
    moved = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    return (moved / moved.sum(axis=1, keepdims=True)).astype(np.float32)


def _confidence(asking: Asking, parsed: Sequence[str | None], shares: np.ndarray | None) -> np.ndarray:
    """Share of the label that was answered; 0 for an answer that could not be read."""
    if shares is None:
        return np.full(len(parsed), np.nan, np.float32)
    index = {label: place for place, label in enumerate(asking.labels)}
    told = [0.0 if label is None else shares[row, index[label]] for row, label in enumerate(parsed)]
    return np.array(told, np.float32)


def _losses(asking: Asking, examples: Sequence[Example], answers: Answers) -> np.ndarray:
    if answers.log_likelihoods is None:
        return np.full(len(examples), np.nan, np.float32) if answers.loss is None else answers.loss
    found = answers.log_likelihoods
    index = {label: place for place, label in enumerate(asking.labels)}
    top = found.max(axis=1)
    totals = top + np.log(np.exp(found - top[:, None]).sum(axis=1))
    golds = [index.get(one.gold or "") for one in examples]
    told = [np.nan if place is None else totals[row] - found[row, place] for row, place in enumerate(golds)]
    return np.array(told, np.float32)
