"""ROUGE of summaries (Lin 2004), a score for each row, by the package `rouge-score`.

Scores of a split are means over rows, so their intervals are computed as the accuracy's are. Words are stemmed, as the
published figures of CNN/DailyMail are. A line break parts sentences for ROUGE-Lsum, which is the package's own rule;
for summaries of one line it equals ROUGE-L.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from whichtune.errors import RecordError, did_you_mean
from whichtune.records.predictions import Predictions
from whichtune.stats.counting import Floats
from whichtune.stats.metrics import Metric

ROUGE = (
    Metric("rouge1", "ROUGE-1", "higher", "share", per_item=True),
    Metric("rouge2", "ROUGE-2", "higher", "share", per_item=True),
    Metric("rougeL", "ROUGE-L", "higher", "share", per_item=True),
    Metric("rougeLsum", "ROUGE-Lsum", "higher", "share", per_item=True),
)
"""The four variants, in the order in which they are shown; names are the package's."""

_NAMES = tuple(metric.name for metric in ROUGE)


def score_rouge(
    gold: Sequence[str | None], answers: Sequence[str | None], names: Sequence[str] = _NAMES
) -> dict[str, Floats]:
    """Return the F of each row by variant, [n] in 0..1; an answer that is missing or empty has 0.

    Rows without a reference cannot be scored.
    """
    if len(gold) != len(answers):
        raise ValueError(f"{len(gold)} references and {len(answers)} answers")
    for name in names:
        if name not in _NAMES:
            raise RecordError("metric", value=name, allowed=", ".join(_NAMES), remedy=did_you_mean(name, _NAMES))
    scorer = _make_scorer(tuple(names))
    scores = {name: np.zeros(len(gold), np.float64) for name in names}
    for place, (reference, answer) in enumerate(zip(gold, answers, strict=True)):
        if reference is None:
            raise RecordError("a row without a reference summary cannot be scored", value=place)
        found = scorer.score(reference, answer) if answer else {}
        for name, triple in found.items():
            scores[name][place] = triple.fmeasure
    return scores


def rouge_psi(predictions: Predictions, metric: str) -> tuple[float, Floats] | None:
    """Return one variant of one trial and its per-item scores [n], higher being better; None without rows."""
    if not predictions.ids:
        return None
    values = score_rouge(predictions.gold, predictions.parsed, (metric,))[metric]
    return float(values.mean()), values


@lru_cache(maxsize=8)
def _make_scorer(names: tuple[str, ...]) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(names), use_stemmer=True)
