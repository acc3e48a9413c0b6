"""Calibration error and losses, by hand and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from whichtune.stats.sums import BINS, calibration_error, confidence_bins, mean_loss


def loop_error(correct, confidence) -> float:
    total = 0.0
    for place in range(BINS):
        low, high = place / BINS, (place + 1) / BINS
        inside = (confidence > low) & (confidence <= high) if place else (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_error_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(700)
    correct = generator.random(700) < confidence**2
    assert calibration_error(correct, confidence) == pytest.approx(loop_error(correct, confidence), abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "confidence", "expected"),
    [([True], [1.0], 0.0), ([False], [1.0], 1.0), ([True, False], [0.5, 0.5], 0.0), ([True, True], [0.9, 0.1], 0.5)],
)
def test_calibration_error_by_hand(correct, confidence, expected) -> None:
    assert calibration_error(correct, confidence) == pytest.approx(expected)


def test_bins_close_above() -> None:
    assert confidence_bins([0.0, 1e-9, 1 / 15, 1 / 15 + 1e-9, 1.0]).tolist() == [0, 0, 0, 1, 14]


@pytest.mark.parametrize("confidence", [[], [float("nan"), 0.5]])
def test_no_confidence_no_calibration_error(confidence) -> None:
    assert calibration_error([True] * len(confidence), confidence) is None


@pytest.mark.parametrize(
    ("losses", "expected"), [([], None), ([1.0, float("inf")], None), ([float("nan")], None), ([1.0, 2.0], 1.5)]
)
def test_mean_loss(losses, expected) -> None:
    assert mean_loss(losses) == expected
