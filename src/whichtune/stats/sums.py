"""Sums that do not depend on how their terms were batched: added strictly one after the other, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from whichtune.stats.counting import Floats, Indices

BINS = 15
"""Equal-width confidence bins of the calibration error."""


def add_in_order(running: Floats, places: Indices, values: ArrayLike) -> Floats:
    """Add `values` to the entries of `running` at `places`, in order.

    `bincount` adds its weights one by one, so putting the running sums in front makes any batching of the same rows
    give the same bits; NumPy's own sum adds in pairs and does not.
    """
    cells = np.concatenate([np.arange(len(running)), places])
    weights = np.concatenate([running, np.asarray(values, np.float64).reshape(-1)])
    return np.bincount(cells, weights=weights, minlength=len(running)).astype(np.float64, copy=False)


def confidence_bins(confidence: ArrayLike) -> Indices:
    """Return the bin of each confidence: bins are open below and closed above, and 0 falls into the first."""
    values = np.asarray(confidence, np.float64).reshape(-1)
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.clip(np.ceil(finite * BINS).astype(np.int64) - 1, 0, BINS - 1)


@dataclass(frozen=True)
class CalibrationSums:
    """Per confidence bin: rows, hits, and the confidences added up, [15] each."""

    rows: Indices
    hits: Indices
    confidence: Floats

    @classmethod
    def empty(cls) -> CalibrationSums:
        """Nothing counted yet."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), np.zeros(BINS))

    def add(self, correct: ArrayLike, confidence: ArrayLike) -> CalibrationSums:
        """Return the sums with a batch added; `correct` is boolean."""
        bins = confidence_bins(confidence)
        right = np.asarray(correct, bool).reshape(-1)
        return CalibrationSums(
            self.rows + np.bincount(bins, minlength=BINS),
            self.hits + np.bincount(bins[right], minlength=BINS),
            add_in_order(self.confidence, bins, confidence),
        )

    @property
    def error(self) -> float | None:
        """Expected calibration error (Naeini et al. 2015; Guo et al. 2017); None without rows or confidences."""
        total = int(self.rows.sum())
        gap = float(np.abs(self.hits - self.confidence).sum())
        return gap / total if total and math.isfinite(gap) else None


def calibration_error(correct: ArrayLike, confidence: ArrayLike) -> float | None:
    """Mean distance of confidence from correctness over 15 equal-width bins, weighted by their rows."""
    return CalibrationSums.empty().add(correct, confidence).error


def mean_loss(losses: ArrayLike) -> float | None:
    """Mean loss a row in nats; None without rows, or where a loss is not a finite number."""
    values = np.asarray(losses, np.float64).reshape(-1)
    return mean_or_none(float(add_in_order(np.zeros(1), np.zeros(len(values), np.int64), values)[0]), len(values))


def mean_or_none(total: float, rows: int) -> float | None:
    """Return total / rows, or None where there is no finite mean."""
    return total / rows if rows and math.isfinite(total) else None
