"""Texts as sets of character n-grams, and MinHash signatures of such sets in bands (Broder 1997).

Everything works on 64-bit hashes of the n-grams of many texts at once, in blocks that fit a processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

NGRAM = 5
LONGEST_CHARACTERS = 50_000
"""Longer texts are compared by their beginning, so that one of them cannot take all memory."""
_BLOCK_CHARACTERS = 2**18
_MOST_HASHES = 96
_MISSED = 1e-3
"""Chance that a pair right at the threshold shares no band; a pair above it is missed less often."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Bands:
    """How a signature is cut: two texts are compared when all `rows` hashes of one of `count` bands agree."""

    count: int
    rows: int

    def catch(self, similarity: float) -> float:
        """Return the chance that a pair of this Jaccard similarity shares a band."""
        return 1 - (1 - similarity**self.rows) ** self.count


def choose_bands(threshold: float) -> Bands:
    """Return the longest bands that still catch 99.9 % of the pairs at the threshold: they raise the fewest others.

    Below a similarity of about 0.07 no choice within the most hashes does; then all bands have one row.
    """
    if threshold >= 1:
        return Bands(1, _MOST_HASHES // 4)
    for rows in range(_MOST_HASHES, 0, -1):
        count = math.ceil(math.log(_MISSED) / math.log1p(-(threshold**rows)))
        if count * rows <= _MOST_HASHES:
            return Bands(count, rows)
    return Bands(_MOST_HASHES, 1)


def normalise(text: str) -> str:
    """Fold case and white space: texts that agree then are exact copies."""
    return " ".join(text.casefold().split())


def shingle(text: str) -> np.ndarray:
    """Return the distinct n-grams of a normalised text, as sorted uint64 hashes; a shorter text is one n-gram."""
    return np.unique(_hash_windows([text])[0])


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets of sorted hashes."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def sign(count: int, text_of: Callable[[int], str], bands: Bands) -> np.ndarray:
    """Return one key for each band and text, [bands, texts] uint64; `text_of` gives normalised texts by number."""
    keys = np.empty((bands.count, count), dtype=np.uint64)
    draw = np.random.default_rng(0)
    masks = draw.integers(0, 2**32, bands.count * bands.rows, dtype=np.uint32)
    factors = draw.integers(0, 2**31, bands.count * bands.rows, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    for start, texts in _blocks(count, text_of):
        windows, starts = _hash_windows(texts)
        narrow = (windows >> np.uint64(32)).astype(np.uint32)
        block = np.zeros((bands.count, len(texts)), dtype=np.uint64)
        for place, (mask, factor) in enumerate(zip(masks, factors, strict=True)):
            least = np.minimum.reduceat((narrow ^ mask) * factor, starts)
            band = block[place // bands.rows]
            band[:] = band * _PRIME + least
        keys[:, start : start + len(texts)] = block
    return keys


def _blocks(count: int, text_of: Callable[[int], str]) -> Iterator[tuple[int, list[str]]]:
    start, held, size = 0, [], 0
    for number in range(count):
        text = text_of(number)
        held.append(text)
        size += min(len(text), LONGEST_CHARACTERS)
        if size >= _BLOCK_CHARACTERS:
            yield start, held
            start, held, size = number + 1, [], 0
    if held:
        yield start, held


def _hash_windows(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hash every n-gram of every text: [n-grams] uint64, and the place at which each text's begin."""
    cut = [text[:LONGEST_CHARACTERS].ljust(NGRAM, "\0") for text in texts]
    ends = np.cumsum([len(text) for text in cut])
    codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    mixed = np.zeros(len(codes) - NGRAM + 1, dtype=np.uint64)
    for place in range(NGRAM):
        mixed = mixed * _PRIME + codes[place : place + len(mixed)]
    own = np.ones(len(mixed), dtype=bool)
    own[(ends[:-1, None] - np.arange(1, NGRAM)).ravel()] = False
    mixed = mixed[own]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    counts = np.diff(ends, prepend=0) - (NGRAM - 1)
    return mixed ^ (mixed >> np.uint64(31)), np.cumsum(counts) - counts
