"""The bar of every summary: the text's own first sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from whichtune.data.examples import Example
from whichtune.prompts.lead import first_sentence


class Lead:
    """Answer with the first sentence of the text."""

    deterministic = True
    learns = False

    def fit(
        self, examples: Sequence[Example], targets: np.ndarray, labels: int
    ) -> Callable[[Sequence[Example]], list[str]]:
        """Nothing is learned."""
        return lambda rows: [first_sentence(row.text) for row in rows]
