"""Predictions in words: a padded batch against one row at a time, for untouched and tuned models."""

import numpy as np
import pytest

from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.speaking import Speaker
from whichtune.engine.tolerances import TOLERANCES
from whichtune.engine.writing import Interview, answer_in_words

def test_x(tiny_backbone, language_trial):
    trial = language_trial(tiny_backbone("gpt"), {"kind": "lora", "learning_rate": 1e-2})
    outcome = trial.run()
    print(outcome)
    assert 0
