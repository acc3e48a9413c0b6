"""What makes both halves of a row readable: an image processor and a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from whichtune.fetch.fingerprint import fingerprint_texts
from whichtune.models.encoder import TextEncoder
from whichtune.models.image_encoder import ImageEncoder


@dataclass(frozen=True)
class PairReader:
    """What makes both halves of a row readable."""

    image: ImageEncoder
    text: TextEncoder

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides pixels and token ids."""
        return fingerprint_texts([self.image.fingerprint, self.text.fingerprint])

    @property
    def manners(self) -> str:
        """Nothing is asked in words."""
        return ""

    @property
    def max_positions(self) -> int | None:
        """Rows that the text may have."""
        return self.text.max_positions
