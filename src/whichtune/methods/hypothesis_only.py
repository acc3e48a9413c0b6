"""What the second text gives away: a classifier that never sees the first (Poliak et al. 2018; Gururangan et al. 2018).

Sets of pairs written by people often let the label be guessed from the second text alone. A model that is no better
than this one may not have read the first text at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example, second_texts
from whichtune.methods.bag_of_words import BagOfWords


class HypothesisOnly(BagOfWords):
    """Logistic regression on which words and word pairs stand in the second text."""

    def read_texts(self, examples: Sequence[Example]) -> list[str]:
        """Return the second texts, or say which row has none."""
        return second_texts(examples)
