"""Predictions made up for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from whichtune.records.predictions import Predictions

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))  # the long calibration is there; its short version is here


def make_predictions(gold, parsed, labels, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    return Predictions(
        split="test",
        ids=[f"row-{place}" for place in range(len(gold))],
        gold=[labels[each] for each in gold],
        parsed=[None if each < 0 else labels[each] for each in parsed],
        confidence=generator.random(len(gold)).astype(np.float32),
        loss=generator.exponential(size=len(gold)).astype(np.float32),
        labels=tuple(labels),
    )


@pytest.fixture
def make():
    return make_predictions
