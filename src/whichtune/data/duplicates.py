"""Exact and near duplicates, within and across splits, for half a million rows in bounded memory.

Texts are compared without case and spacing. Near duplicates have a Jaccard similarity of their character 5-grams of
at least the threshold: candidates come from MinHash signatures (Broder 1997) in bands, and each candidate is verified
on the 5-grams themselves. Memory: 320 bytes a distinct text for its signature, and a few thousand texts' 5-grams at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whichtune.data.examples import Duplicates, Example

NGRAM = 5
BANDS, ROWS = 16, 5
"""At similarity 0.8 a pair shares a band with probability 1 - (1 - 0.8^5)^16 = 0.998, at 0.5 with 0.40."""
CHUNK_TEXTS = 4096
SHOWN = 5
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class Twins:
    """Which distinct text each row has, and which distinct texts are near each other."""

    texts: dict[str, np.ndarray]
    """Split to the text number of each of its rows."""
    near: dict[int, set[int]]
    """Text number to the numbers of its near twins."""


def find_twins(splits: Mapping[str, Sequence[Example]], threshold: float) -> Twins:
    """Find exact and near twins over all splits at once."""
    numbers: dict[str, int] = {}
    texts = {
        name: np.array([numbers.setdefault(normalise(one.text), len(numbers)) for one in rows], dtype=np.int64)
        for name, rows in splits.items()
    }
    distinct = list(numbers)
    near: dict[int, set[int]] = defaultdict(set)
    for left, right in find_candidates(distinct):
        if jaccard(shingle(distinct[left]), shingle(distinct[right])) >= threshold:
            near[left].add(right)
            near[right].add(left)
    return Twins(texts, dict(near))


def count_duplicates(splits: Mapping[str, Sequence[Example]], twins: Twins) -> tuple[Duplicates, ...]:
    """Count duplicates within each split and across each pair of splits."""
    names = list(splits)
    pairs = [(left, right) for place, left in enumerate(names) for right in names[place:]]
    return tuple(_count_pair(splits, twins, pair) for pair in pairs)


def drop_duplicates(
    splits: Mapping[str, Sequence[Example]], twins: Twins, *, within: bool
) -> tuple[dict[str, list[Example]], dict[str, list[str]]]:
    """Remove rows that stand in a later split too (and, `within`, all but the first of each); name what went."""
    later: set[int] = set()
    kept: dict[str, list[Example]] = {}
    gone: dict[str, list[str]] = {}
    for name in reversed(list(splits)):
        own: set[int] = set()
        keep: list[Example] = []
        lost: list[str] = []
        for one, number in zip(splits[name], twins.texts[name].tolist(), strict=True):
            group = {number} | twins.near.get(number, set())
            if group & later or (within and group & own):
                lost.append(one.origin)
            else:
                keep.append(one)
            own.add(number)
        later |= own
        kept[name], gone[name] = keep, lost
    return {name: kept[name] for name in splits}, gone


def normalise(text: str) -> str:
    """Fold case and spacing."""
    return " ".join(text.casefold().split())


def shingle(text: str) -> np.ndarray:
    """Return the sorted distinct hashes of a text's character n-grams, uint64; a shorter text is one of its own."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < NGRAM:
        codes = np.pad(codes, (0, NGRAM - len(codes)))
    mixed = np.zeros(len(codes) - NGRAM + 1, dtype=np.uint64)
    for place in range(NGRAM):
        mixed = mixed * np.uint64(_MIX[0]) + codes[place : place + len(mixed)] + np.uint64(1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX[2])
    return np.unique(mixed ^ (mixed >> np.uint64(31)))


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Return the similarity of two sets of distinct sorted hashes."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def sign(texts: Sequence[str]) -> np.ndarray:
    """Return the MinHash signatures, [texts, bands x rows] uint32."""
    draw = np.random.default_rng(0)
    odd = draw.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    signatures = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    for start in range(0, len(texts), CHUNK_TEXTS):
        sets = [shingle(text) for text in texts[start : start + CHUNK_TEXTS]]
        flat = np.concatenate(sets)
        starts = np.concatenate([[0], np.cumsum([len(own) for own in sets])[:-1]])
        for column, factor in enumerate(odd):
            values = ((flat * factor) >> np.uint64(32)).astype(np.uint32)
            signatures[start : start + len(sets), column] = np.minimum.reduceat(values, starts)
    return signatures


def find_candidates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs that share a band, each once; in a band, a text meets its neighbour and the first of its group."""
    if len(texts) < 2:
        return
    signatures = sign(texts)
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        keys = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS]).view(f"V{4 * ROWS}").ravel()
        _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(size[group] > 1)
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for place in shared.tolist():
            own = int(group[place])
            for other in {first.setdefault(own, place), last.get(own, place)}:
                if other != place and (other, place) not in seen:
                    seen.add((other, place))
                    yield other, place
            last[own] = place


def _count_pair(splits: Mapping[str, Sequence[Example]], twins: Twins, pair: tuple[str, str]) -> Duplicates:
    left, right = pair
    within = left == right
    places: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(twins.texts[right].tolist()):
        places[number].append(place)
    exact = near = 0
    shown: list[tuple[str, str]] = []
    for place, number in enumerate(twins.texts[left].tolist()):
        copies = [other for other in places.get(number, []) if not within or other < place]
        close = [
            other
            for twin in twins.near.get(number, ())
            for other in places.get(twin, [])
            if not within or other < place
        ]
        exact += bool(copies)
        near += bool(close) and not copies
        if (copies or close) and len(shown) < SHOWN:
            shown.append((splits[left][place].origin, splits[right][(copies or close)[0]].origin))
    return Duplicates(pair, exact, near, tuple(shown))
