"""Exact and near duplicates, within and across splits, for half a million rows in bounded memory.

Exact copies agree after case and white space are folded. Near copies have a Jaccard similarity of their character
5-grams of at least the threshold: MinHash proposes pairs, and each is verified on the n-grams themselves. Copies of
copies form a *family*. Which rows a family holds does not depend on chance: the hashes are fixed. Rows of two texts
are copies when both texts are: many pairs share a premise and are no copies for it. Rows of an image are copies when
the files are the same byte for byte, and so are their texts once folded, where they have one; near copies of images are
not looked for, and questions that are nearly alike about one image are no copies.

Memory beyond the texts: 8 bytes a band (18 at a threshold of 0.8) and about 100 more for each distinct text, some
120 MB for 500,000 rows; and at most about 200 MB for n-grams and rejected pairs, however long or alike the texts are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from whichtune.data.examples import Duplicates, Example
from whichtune.data.shingles import choose_bands, jaccard, normalise, shingle, sign

SHOWN = 5
_WINDOW = 32
"""Texts of one band are compared with this many neighbours: all pairs of a group of up to 33."""
_REMEMBERED_PAIRS = 1_000_000


@dataclass(frozen=True)
class Families:
    """Which text and which family each row belongs to, numbered over all splits."""

    texts: Mapping[str, np.ndarray]
    """Split to [rows] int64: equal numbers are exact copies."""
    families: Mapping[str, np.ndarray]
    """Split to [rows] int64: equal numbers are exact or near copies, directly or through others."""


def find_families(splits: Mapping[str, Sequence[Example]], threshold: float) -> Families:
    """Find the exact and near copies over all splits at once."""
    flat = [_content_of(example) for rows in splits.values() for example in rows]
    if not flat:
        none = {name: np.zeros(0, dtype=np.int64) for name in splits}
        return Families(none, none)
    digests = b"".join(blake2b(_bytes_of(text), digest_size=16).digest() for text in flat)
    _, first, texts = np.unique(np.frombuffer(digests, dtype="V16"), return_index=True, return_inverse=True)
    distinct = [flat[place] for place in first.tolist()]
    shown = any(example.image is not None for rows in splits.values() for example in rows)
    roots = np.arange(len(distinct), dtype=np.int64) if shown else _join_near(distinct, threshold)
    bounds = np.cumsum([len(rows) for rows in splits.values()])[:-1]
    return Families(
        dict(zip(splits, np.split(texts, bounds), strict=True)),
        dict(zip(splits, np.split(roots[texts], bounds), strict=True)),
    )


def count_duplicates(splits: Mapping[str, Sequence[Example]], found: Families) -> tuple[Duplicates, ...]:
    """Count copies within each split and across each pair of splits."""
    names = list(splits)
    return tuple(_count_pair(splits, found, left, right) for place, left in enumerate(names) for right in names[place:])


def mark_duplicates(found: Families, *, within: bool) -> dict[str, np.ndarray]:
    """Return, for each split, [rows] bool: those of a family that also stands in a later split.

    With `within`, also all but the first row of a family in its own split.
    """
    names = list(found.families)
    marks: dict[str, np.ndarray] = {}
    for place, name in enumerate(names):
        own = found.families[name]
        later = [found.families[other] for other in names[place + 1 :]]
        marks[name] = np.isin(own, np.concatenate(later)) if later else np.zeros(len(own), dtype=bool)
        if within:
            marks[name] |= _repeats(own)
    return marks


def count_conflicts(splits: Mapping[str, Sequence[Example]], found: Families) -> int:
    """Count texts whose exact copies carry different labels."""
    golds: dict[int, str | None] = {}
    torn: set[int] = set()
    for name, rows in splits.items():
        for text, example in zip(found.texts[name].tolist(), rows, strict=True):
            if golds.setdefault(text, example.gold) != example.gold:
                torn.add(text)
    return len(torn)


def _content_of(example: Example) -> str:
    """Return what is compared; a NUL, which no usable text holds, stands between two texts, or image and text."""
    if example.image is not None:
        return f"{example.image.sha256}\0{example.text.strip()}"
    return example.text if example.pair is None else f"{example.text.strip()}\0{example.pair.strip()}"


def _bytes_of(text: str) -> bytes:
    return normalise(text).encode("utf-8", "surrogatepass")


def _join_near(distinct: list[str], threshold: float) -> np.ndarray:
    """Return the family of each distinct text, [texts] int64: the least number of its members."""
    bands = choose_bands(threshold)
    keys = sign(len(distinct), lambda number: normalise(distinct[number]), bands)
    parents = list(range(len(distinct)))
    rejected: set[tuple[int, int]] = set()

    # Texts are at most `LONGEST_CHARACTERS` long here, so 256 sets of hashes take at most about 100 MB.
    @lru_cache(maxsize=256)
    def grams(text: str) -> np.ndarray:
        return shingle(text)

    def alike(left: str, right: str) -> bool:
        return left == right or _alike(grams(left), grams(right), threshold)

    for pair in _propose(keys):
        left, right = _root(parents, pair[0]), _root(parents, pair[1])
        if left == right or pair in rejected:
            continue
        if all(map(alike, *(normalise(distinct[number]).split("\0") for number in pair))):
            parents[max(left, right)] = min(left, right)
        elif len(rejected) < _REMEMBERED_PAIRS:
            rejected.add(pair)
    return np.array([_root(parents, number) for number in range(len(parents))], dtype=np.int64)


def _propose(keys: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts that share a band: nearest neighbours first, so that big families join cheaply."""
    for band in keys:
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        for step in range(1, min(_WINDOW, len(band) - 1) + 1):
            places = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(places):
                break
            yield from zip(order[places].tolist(), order[places + step].tolist(), strict=True)


def _alike(left: np.ndarray, right: np.ndarray, threshold: float) -> bool:
    if min(len(left), len(right)) < threshold * max(len(left), len(right)):
        return False
    return jaccard(left, right) >= threshold


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


def _repeats(numbers: np.ndarray) -> np.ndarray:
    """Mark every row whose number stood before."""
    again = np.ones(len(numbers), dtype=bool)
    again[np.unique(numbers, return_index=True)[1]] = False
    return again


def _count_pair(splits: Mapping[str, Sequence[Example]], found: Families, left: str, right: str) -> Duplicates:
    if left == right:
        exact, close = _repeats(found.texts[left]), _repeats(found.families[left])
    else:
        exact = np.isin(found.texts[left], found.texts[right])
        close = np.isin(found.families[left], found.families[right])
    shown: list[tuple[str, str]] = []
    for place in np.flatnonzero(exact | close)[:SHOWN].tolist():
        numbers = found.texts if exact[place] else found.families
        twin = int(np.argmax(numbers[right] == numbers[left][place]))
        shown.append((splits[left][place].origin, splits[right][twin].origin))
    images = any(one.image is not None for one in splits[left])
    near = None if images else int((close & ~exact).sum())
    return Duplicates((left, right), int(exact.sum()), near, tuple(shown))
