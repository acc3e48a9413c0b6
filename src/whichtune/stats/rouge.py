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
from whichtune.stats.counting import Floats
from whichtune.stats.metrics import ROUGE

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
    if None in gold:
        raise RecordError("a row without a reference summary cannot be scored", value=list(gold).index(None))
    found = _score_all(tuple(each for each in gold if each is not None), tuple(answers))
    return {name: found[name].copy() for name in names}


@lru_cache(maxsize=64)
def _score_all(gold: tuple[str, ...], answers: tuple[str | None, ...]) -> dict[str, Floats]:
    """Score every variant at once, so that words are cut and stemmed once for all of them."""
    scorer = _make_scorer()
    scores = {name: np.zeros(len(gold), np.float64) for name in _NAMES}
    for place, (reference, answer) in enumerate(zip(gold, answers, strict=True)):
        found = scorer.score(reference, answer) if answer else {}
        for name, triple in found.items():
            scores[name][place] = triple.fmeasure
    return scores


class _Words:
    """The package's own words and stems, each word stemmed once: stemming is most of the time a score takes."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(maxsize=1 << 16)(PorterStemmer().stem)

    def tokenize(self, text: str) -> list[str]:
        """Cut a text into stemmed words."""
        from rouge_score.tokenize import tokenize

        return tokenize(text, self)


@lru_cache(maxsize=1)
def _make_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(_NAMES), tokenizer=_Words())
