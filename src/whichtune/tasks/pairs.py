"""Classification of two texts: inference, paraphrase, and whatever else is asked of a pair."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example, second_texts
from whichtune.models.batch import Encoded
from whichtune.tasks.classification import Classification
from whichtune.tasks.reading import Reader, require_texts


class PairClassification(Classification):
    """One label for two texts, which the model reads as one row in its family's own form."""

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> Encoded:
        """Turn pairs into token ids; of a pair beyond `max_length` tokens the longer text is cut first."""
        texts = [example.text for example in examples]
        return require_texts(reader).encode(texts, self.targets(examples), max_length, second_texts(examples))
