"""What each class weighs in the training loss; nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whichtune.errors import SpecError, did_you_mean
from whichtune.spec.training import TrainingSpec

SHOWN_LABELS = 20
"""Labels named in a message."""


def weigh_classes(training: TrainingSpec, labels: Sequence[str], targets: np.ndarray) -> np.ndarray | None:
    """Return a weight a label, [labels] float32, from the training split's targets alone; None where all weigh 1.

    `balanced` is rows / (classes x rows of the class), `inverse-root` goes with 1 / sqrt(rows of the class); both are
    scaled so that the weights of all training rows add up to their number. A class without training rows weighs 1.
    """
    asked = training.class_weights
    if isinstance(asked, Mapping):
        return _by_label(asked, labels)
    if asked == "none":
        return None
    counts = np.bincount(targets[targets >= 0], minlength=len(labels)).astype(np.float64)
    seen = counts > 0
    pull = counts[seen] if asked == "balanced" else np.sqrt(counts[seen])
    weights = np.ones(len(labels))
    weights[seen] = counts.sum() / (pull * (counts[seen] / pull).sum())
    return weights.astype(np.float32)


def _by_label(asked: Mapping[str, float], labels: Sequence[str]) -> np.ndarray:
    for name in asked:
        if name not in labels:
            allowed = ", ".join(labels[:SHOWN_LABELS]) + (", ..." if len(labels) > SHOWN_LABELS else "")
            told = f"training.class_weights: '{name}' is no label of the data"
            raise SpecError(told, allowed=allowed, remedy=did_you_mean(name, labels))
    return np.array([asked.get(label, 1.0) for label in labels], dtype=np.float32)
