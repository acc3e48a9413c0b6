"""What outputs say, a row an entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def gather(parts: Sequence[Scored], places: Sequence[np.ndarray]) -> Scored:
    """Put the rows of many batches into the order of their places."""
    order = np.argsort(np.concatenate(places), kind="stable")
    kept = [part.probabilities for part in parts if part.probabilities is not None]
    return Scored(
        predicted=np.concatenate([part.predicted for part in parts])[order],
        confidence=np.concatenate([part.confidence for part in parts])[order],
        loss=np.concatenate([part.loss for part in parts])[order],
        probabilities=np.concatenate(kept)[order] if len(kept) == len(parts) else None,
    )
