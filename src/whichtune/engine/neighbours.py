"""Which rows of a pool are nearest to a row: by the cosine between embeddings of their texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from whichtune.data.examples import Example
from whichtune.prompts.choosing import Neighbours, Pool

DECIMALS = 4
"""To which similarities are rounded before they are compared. The same text embedded in another batch moves them by
some 1e-7, which should hardly ever decide an order; rows that round to the same number are equally near."""


def make_neighbours(pool: Pool, embed: Callable[[Sequence[str]], np.ndarray], items: Sequence[Example]) -> Neighbours:
    """Return what finds the pool's nearest rows for each of the items, equally near ones in the order of ids.

    `embed` gives one row a text, [texts, H]. It is called twice, once for the pool's and once for the items' texts,
    each text once and sorted, so that neither the order of the items nor copies among them change anything.
    """
    rows = [read_together(one) for one in pool.rows]
    vectors = _embed_unique(embed, rows)
    known = _embed_unique(embed, [read_together(one) for one in items])
    own = np.stack([vectors[text] for text in rows]) if rows else np.empty((0, 1), np.float32)

    def find(item: Example, count: int) -> Sequence[str]:
        vector = known.get(read_together(item))
        if vector is None:
            raise ValueError(f"{item.origin}: not among the items whose neighbours were to be found")
        return [pool.rows[place].id for place in rank_nearest(own @ vector, count)] if rows else []

    return find


def read_together(one: Example) -> str:
    """Return the row's text, with the second one below it where there are two."""
    return one.text if one.pair is None else f"{one.text}\n{one.pair}"


def rank_nearest(similarities: np.ndarray, count: int) -> np.ndarray:
    """Return the places of so many rows, the most similar first; equally similar ones in the order given."""
    near = similarities.round(DECIMALS)
    count = min(count, len(near))
    if not count:
        return np.empty(0, np.int64)
    least = np.partition(near, len(near) - count)[len(near) - count]
    places = np.flatnonzero(near >= least)
    return places[np.argsort(-near[places], kind="stable")][:count]


def _embed_unique(embed: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Embed each text once, in the order of texts; rows get length 1."""
    unique = sorted(set(texts))
    if not unique:
        return {}
    rows = np.asarray(embed(unique), dtype=np.float32)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return dict(zip(unique, unit, strict=True))
