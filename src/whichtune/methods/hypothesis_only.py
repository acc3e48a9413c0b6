"""What the second text gives away: a classifier that never sees the first (Poliak et al. 2018; Gururangan et al. 2018).

Sets of pairs written by people often let the label be guessed from the second text alone. A model that is no better
than this one may not have read the first text at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from whichtune.data.examples import Example, second_texts
from whichtune.methods.majority import Majority

_WORD = r"\w+"
_MOST_ITERATIONS = 2000


class HypothesisOnly:
    """Logistic regression on which words and word pairs stand in the second text."""

    deterministic = True

    def fit(
        self, examples: Sequence[Example], targets: np.ndarray, labels: int
    ) -> Callable[[Sequence[Example]], np.ndarray | list[str]]:
        """Fit on the second texts; where none holds a word, or all rows have one label, the labels' shares are left."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        words = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=_WORD)
        texts = second_texts(examples)
        if len(np.unique(targets)) < 2 or not any(map(words.build_analyzer(), texts)):
            return Majority().fit(examples, targets, labels)
        model = LogisticRegression(max_iter=_MOST_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bar a little too low is a bar all the same
            model.fit(words.fit_transform(texts), targets)

        def predict(rows: Sequence[Example]) -> np.ndarray:
            shares = np.zeros((len(rows), labels))
            shares[:, model.classes_] = model.predict_proba(words.transform(second_texts(rows)))
            return shares

        return predict
