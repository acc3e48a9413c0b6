"""Chains of subsets: each seed draws its own order of the labelled rows, and a size is a beginning of it.

A smaller subset is part of every larger one of its chain, and all methods of a study are trained on the same ones.
Validation rows are labelled rows too: whoever has 100 labels has 100 for training and validation together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from whichtune.data.examples import DataSet
from whichtune.data.splitting import draw_order
from whichtune.errors import DataError
from whichtune.spec.seeds import derive_seed
from whichtune.spec.sources import SplitSpec

LABELLED = ("train", "validation")


def count_labelled(data: DataSet) -> int:
    """Count the labelled rows that training may use: all but those of the test split."""
    return sum(len(data.examples[name]) for name in LABELLED)


def share_out(size: int, data: DataSet) -> tuple[int, int]:
    """Return how many training and validation rows a size has, in the shares of the whole; one of each at least."""
    share = len(data.examples["validation"]) / count_labelled(data)
    validation = min(size - 1, max(1, round(size * share)))
    return size - validation, validation


def draw_chain(data: DataSet, size: int, seed: int, spec: SplitSpec) -> dict[str, np.ndarray]:
    """Return which rows of each split so many labels are, in the order of the split; the test split is whole."""
    own = spec.model_copy(update={"seed": derive_seed("chain", seed)})
    places = {name: np.arange(len(rows)) for name, rows in data.examples.items()}
    for name, count in zip(LABELLED, share_out(size, data), strict=True):
        order = draw_order(data.examples[name], own, "chain")
        places[name] = np.sort(np.array(order[:count], np.int64))
    return places


def subset(data: DataSet, places: Mapping[str, np.ndarray]) -> DataSet:
    """Return a data set of some rows of each split, with the labels of the whole one."""
    return replace(
        data, examples={name: tuple(rows[place] for place in places[name]) for name, rows in data.examples.items()}
    )


def require_sizes(sizes: list[int], data: DataSet) -> None:
    """Refuse sizes that the data do not have, or that are all of them."""
    total = count_labelled(data)
    for size in sizes:
        if size >= total:
            raise DataError(
                "`sizes`: there are not so many labelled rows, training and validation together",
                value=size,
                allowed=f"2 to {total - 1:,}, and `all` for all {total:,}",
                remedy="take it out, or give the study more rows (`data.sizes.train`)",
            )
