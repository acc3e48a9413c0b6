"""What single rows of predictions hold: answers as label indices, right or wrong, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whichtune.errors import RecordError
from whichtune.records.predictions import Predictions
from whichtune.stats.counting import Floats, Indices
from whichtune.stats.metrics import TOP_LABELS


def index_answers(predictions: Predictions, labels: Sequence[str]) -> tuple[Indices, Indices]:
    """Return gold and parsed answers as label indices, [n] each, -1 for an answer that could not be read."""
    index: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
    gold = _look_up(predictions.gold, index, "gold")
    index[None] = -1
    return gold, _look_up(predictions.parsed, index, "parsed")


def match_likelihoods(predictions: Predictions, labels: Sequence[str]) -> Floats | None:
    """Return 1 where the likeliest label is the gold one, else 0, [n]; None where a row has no likelihoods.

    The first of equally likely labels counts.
    """
    shares = predictions.probabilities
    if shares is None or not np.isfinite(shares).all():
        return None
    named = predictions.labels or tuple(labels)
    if shares.shape != (len(predictions.ids), len(named)):
        raise RecordError(
            "predictions: probabilities", value=shares.shape, allowed=f"{len(predictions.ids)} x {len(named)}"
        )
    likeliest = [named[place] for place in shares.argmax(axis=1)] if len(shares) else []
    return np.array([own == gold for own, gold in zip(likeliest, predictions.gold, strict=True)], np.float64)


def match_top(predictions: Predictions) -> Floats | None:
    """Return 1 where the gold label is among the likeliest few, else 0, [n]; None where ranks are not known."""
    ranks = predictions.gold_rank
    return None if ranks is None else (ranks < TOP_LABELS).astype(np.float64)


def match_answers(predictions: Predictions) -> Floats:
    """Return 1 where the answer read is the gold one, else 0, [n]; an answer that could not be read is wrong."""
    if None in predictions.gold:
        place = predictions.gold.index(None)
        raise RecordError("a row without a gold answer cannot be scored", value=predictions.ids[place])
    both = zip(predictions.parsed, predictions.gold, strict=True)
    return np.array([own == gold for own, gold in both], np.float64)


def word_counts(predictions: Predictions) -> Floats:
    """Return the words of each answer, parted by white space, [n]; an answer that could not be read has none."""
    return np.array([len((answer or "").split()) for answer in predictions.parsed], np.float64)


def _look_up(answers: Sequence[str | None], index: Mapping[str | None, int], column: str) -> Indices:
    try:
        return np.fromiter(map(index.__getitem__, answers), np.int64, len(answers))
    except KeyError as error:
        shown = ", ".join(str(each) for each in list(index)[:20] if each is not None)
        raise RecordError(f"predictions: {column} answer", value=error.args[0], allowed=shown) from None
