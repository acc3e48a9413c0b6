"""What rows are read by: a tokenizer, an image processor, or one of each; and what of a row each of them needs."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example
from whichtune.errors import DataError, ModelError
from whichtune.fetch.pictures import Picture
from whichtune.models.encoder import TextEncoder
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.pair_reader import PairReader

Reader = TextEncoder | ImageEncoder | PairReader


def require_texts(reader: Reader) -> TextEncoder:
    """Return the tokenizer, or say that this model reads something else."""
    if isinstance(reader, TextEncoder):
        return reader
    raise _other("texts", reader)


def require_images(reader: Reader) -> ImageEncoder:
    """Return the image processor, or say that this model reads something else."""
    if isinstance(reader, ImageEncoder):
        return reader
    raise _other("images", reader)


def require_pair(reader: Reader) -> PairReader:
    """Return processor and tokenizer, or say that this model reads one thing only."""
    if isinstance(reader, PairReader):
        return reader
    raise _other("an image and a text", reader)


def pictures_of(examples: Sequence[Example]) -> list[Picture]:
    """Return the image of each example, or say which has none."""
    for example in examples:
        if example.image is None:
            raise DataError(f"{example.origin} has no image", remedy="name its column: `data.columns.image`")
    return [one.image for one in examples if one.image is not None]


def _other(given: str, reader: Reader) -> ModelError:
    reads = {TextEncoder: "texts", ImageEncoder: "images", PairReader: "an image and a text"}[type(reader)]
    return ModelError(f"the task gives {given}, and this backbone reads {reads}", remedy="name another backbone")
