"""Expected best score against the number of trials: what a search of that size would have found (Dodge et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichtune.stats.counting import Floats


def expected_best(scores: Sequence[float]) -> Floats:
    """Return the mean best validation score of b trials drawn from the N that were run, for b = 1..N: [N].

    Scores are turned so that higher is better. Draws are without replacement, so the mean is exact:
    E(b) = sum over i of C(i-1, b-1) / C(N, b) v_(i), with v_(i) the i-th smallest. More trials than were run say
    nothing: there is no entry beyond N. A trial that failed counts with the score that the study would have used
    instead; leaving it out would make the search look better than it was.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    count = len(ordered)
    if not np.isfinite(ordered).all():
        raise ValueError("a budget curve needs a finite score for each trial")
    return np.array([_weights(count, budget) @ ordered for budget in range(1, count + 1)])


def _weights(count: int, budget: int) -> Floats:
    """Chance that the i-th smallest of `count` is the greatest of `budget` drawn, [count].

    C(i-1, b-1) / C(N, b), from the greatest down: one place lower it is (i-b) / (i-1) of that.
    """
    below = np.arange(count - 1, 0, -1)
    shares = np.cumprod(np.maximum(below - budget + 1, 0) / below)
    return budget / count * np.concatenate([[1.0], shares])[::-1]
