"""What the question gives away: a classifier that never sees the image (Agrawal et al. 2016; Goyal et al. 2017).

Many questions about images can be answered by what is usual: what colour the sky is, how many wheels a car has. A
model that is no better than this one may not have looked at the image at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.methods.bag_of_words import BagOfWords


class QuestionOnly(BagOfWords):
    """Logistic regression on which words and word pairs stand in the question."""

    def read_texts(self, examples: Sequence[Example]) -> list[str]:
        """Return the questions, or say which row is an image alone."""
        for example in examples:
            if not example.text and example.image is not None:
                raise DataError(f"{example.origin} has no question", remedy="name its column: `data.columns.text`")
        return [example.text for example in examples]
