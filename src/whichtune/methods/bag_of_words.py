"""What one text of a row gives away: a classifier that knows which words stand in it, and nothing else of the row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from whichtune.data.examples import Example
from whichtune.methods.majority import Majority

_WORD = r"\w+"
_MOST_ITERATIONS = 2000


class BagOfWords:
    """Logistic regression on which words and word pairs stand in one text of each row; baselines say which text."""

    deterministic = True
    learns = True

    def read_texts(self, examples: Sequence[Example]) -> list[str]:
        """Return the text of each row that may be read."""
        raise NotImplementedError

    def fit(
        self, examples: Sequence[Example], targets: np.ndarray, labels: int
    ) -> Callable[[Sequence[Example]], np.ndarray | list[str]]:
        """Fit on the rows' texts; where none holds a word, or all rows have one label, the labels' shares are left."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        words = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=_WORD)
        texts = self.read_texts(examples)
        if len(np.unique(targets)) < 2 or not any(map(words.build_analyzer(), texts)):
            return Majority().fit(examples, targets, labels)
        model = LogisticRegression(max_iter=_MOST_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bar a little too low is a bar all the same
            model.fit(words.fit_transform(texts), targets)

        def predict(rows: Sequence[Example]) -> np.ndarray:
            shares = np.zeros((len(rows), labels))
            shares[:, model.classes_] = model.predict_proba(words.transform(self.read_texts(rows)))
            return shares

        return predict
