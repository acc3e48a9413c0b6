"""Classification of images, and of questions about images."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example
from whichtune.models.image_batch import EncodedImages
from whichtune.models.pair_batch import EncodedPairs
from whichtune.tasks.classification import Classification
from whichtune.tasks.reading import Reader, pictures_of, require_images, require_pair


class ImageClassification(Classification):
    """One label for one image."""

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> EncodedImages:
        """Size the images as the model's processor does; `max_length` is about texts."""
        del max_length
        return require_images(reader).encode(pictures_of(examples), self.targets(examples))


class VisualQuestionAnswering(Classification):
    """One of the answers that training knows, to a question about an image."""

    def encode(self, examples: Sequence[Example], reader: Reader, max_length: int) -> EncodedPairs:
        """Size the images, and turn the questions into token ids cut to `max_length` tokens."""
        both, targets = require_pair(reader), self.targets(examples)
        questions = both.text.encode([example.text for example in examples], targets, max_length)
        return EncodedPairs(both.image.encode(pictures_of(examples), targets), questions)
