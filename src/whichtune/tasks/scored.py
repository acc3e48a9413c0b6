"""What outputs over labels say, a row an entry, and the predictions they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whichtune.data.examples import Example
from whichtune.records.predictions import GREATEST_RANK, Predictions

KEPT_LABELS = 64
"""Up to so many labels all probabilities of a prediction are kept; beyond, the predicted one's alone."""


@dataclass(frozen=True)
class Scored:
    """Predictions of some rows, before they meet their examples."""

    predicted: np.ndarray
    """[B] int64: label index, -1 where an answer could not be read."""
    confidence: np.ndarray
    """[B] float32: probability of the predicted label."""
    loss: np.ndarray
    """[B] float32: cross-entropy in nats."""
    probabilities: np.ndarray | None
    """[B, labels] float32, or None where there are too many labels to keep."""
    gold_rank: np.ndarray | None = None
    """[B] int16: labels before the gold one by probability (`Predictions.gold_rank`); None where a row has no gold."""


def gather(parts: Sequence[Scored], places: Sequence[np.ndarray]) -> Scored:
    """Put the rows of many batches into the order of their places."""
    order = np.argsort(np.concatenate(places), kind="stable")
    kept = [part.probabilities for part in parts if part.probabilities is not None]
    ranks = [part.gold_rank for part in parts if part.gold_rank is not None]
    return Scored(
        predicted=np.concatenate([part.predicted for part in parts])[order],
        confidence=np.concatenate([part.confidence for part in parts])[order],
        loss=np.concatenate([part.loss for part in parts])[order],
        probabilities=np.concatenate(kept)[order] if len(kept) == len(parts) else None,
        gold_rank=np.concatenate(ranks)[order] if len(ranks) == len(parts) else None,
    )


def score_outputs(outputs: Tensor, targets: Tensor) -> Scored:
    """Read predictions off outputs [B, labels]; the loss of a row without a target is not a number."""
    log_shares = functional.log_softmax(outputs.float(), dim=-1)
    top, predicted = log_shares.max(dim=-1)
    losses = functional.nll_loss(log_shares, targets, ignore_index=-1, reduction="none")
    losses = losses.masked_fill(targets == -1, float("nan"))
    kept = log_shares.exp().numpy(force=True) if outputs.shape[1] <= KEPT_LABELS else None
    ranks = _rank_gold(log_shares, targets)
    return Scored(predicted.numpy(force=True), top.exp().numpy(force=True), losses.numpy(force=True), kept, ranks)


def _rank_gold(log_shares: Tensor, targets: Tensor) -> np.ndarray | None:
    """Count the labels that stand before the gold one, the earlier of equally likely ones first, [B] int16."""
    if bool((targets == -1).any()):
        return None
    own = log_shares.gather(1, targets[:, None])
    earlier = torch.arange(log_shares.shape[1], device=targets.device)[None] < targets[:, None]
    before = ~(log_shares <= own) | ((log_shares == own) & earlier)  # what is not a number stands before
    return before.sum(dim=1).clamp(max=GREATEST_RANK).to(torch.int16).numpy(force=True)


def score_shares(shares: np.ndarray, targets: np.ndarray) -> Scored:
    """Read predictions off probabilities that no model made (baselines), [rows, labels]."""
    with np.errstate(divide="ignore"):
        logs = torch.from_numpy(np.log(shares.astype(np.float64)))
    return score_outputs(logs, torch.from_numpy(targets))


def tabulate_scored(split: str, examples: Sequence[Example], scored: Scored, labels: tuple[str, ...]) -> Predictions:
    """Put scored rows beside their examples."""
    return Predictions(
        split=split,
        ids=[example.id for example in examples],
        gold=[example.gold for example in examples],
        parsed=[labels[index] if index >= 0 else None for index in scored.predicted],
        confidence=scored.confidence,
        loss=scored.loss,
        probabilities=scored.probabilities,
        gold_rank=scored.gold_rank,
        group=groups_of(examples),
        labels=labels,
    )


def groups_of(examples: Sequence[Example]) -> list[str | None] | None:
    """Return the group of each example; None where none has one."""
    return None if all(example.group is None for example in examples) else [example.group for example in examples]
