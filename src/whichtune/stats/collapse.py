"""Trainings that collapsed: which they are, and how many of them a few clean ones leave possible."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

ERROR = 0.05
"""One-sided error of the bound."""
NO_WAY = 0.1
"""A training that goes less than this part of its siblings' way up from the majority baseline went nowhere."""


def collapse_bound(clean: int, trainings: int) -> float | None:
    """Return the rate of collapses that so many trainings, so many of them clean, leave open.

    One-sided at 95 % and exact (Clopper & Pearson 1934). Without a collapse it is 1 - 0.05^(1/S): 63 % after three
    clean trainings, 31 % after eight. None without a training.
    """
    if not 0 <= clean <= trainings:
        raise ValueError(f"{clean} clean ones of {trainings} trainings")
    if not trainings:
        return None
    return float(special.betaincinv(trainings - clean + 1, clean, 1 - ERROR)) if clean else 1.0


def is_collapsed(score: float | None, majority: float | None, best: float | None = None) -> bool:
    """Tell whether a training ended as if it had not taken place.

    All scores are of the first metric on the same rows, turned so that higher is better: the training's, the majority
    baseline's, and the best of all trainings of the same candidate. It has collapsed

    - if it has no score, or one that is no finite number;
    - if it is not above the majority baseline;
    - if it went less than a tenth of the way from there to the candidate's best training: one that answers almost
      always with one class is a hair above the baseline as often as below it.

    Without a baseline the first alone applies. Only what is trained can collapse: the rule is not for baselines and
    prompts, which may well be worse than the majority's answer.
    """
    if score is None or not math.isfinite(score):
        return True
    if majority is None:
        return False
    way = max(0.0, best - majority) if best is not None else 0.0
    return score <= majority + NO_WAY * way


def count_collapsed(scores: Sequence[float | None], majority: float | None) -> int:
    """Count the collapsed ones among the trainings of one candidate."""
    finite = [score for score in scores if score is not None and math.isfinite(score)]
    return sum(is_collapsed(score, majority, max(finite, default=None)) for score in scores)
