"""Data-size curves: at which numbers of labelled rows every candidate is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator

from whichtune.errors import sentence
from whichtune.spec.base import Steps

LEAST_CHAINS = 5
"""Chains of subsets with which two candidates are compared: with fewer, what another draw does is too badly known."""
ALL = "all"
ALLOWED = "whole numbers from 2 on, and `all`"


def _check_size(given: object) -> object:
    if given == ALL or (isinstance(given, int) and not isinstance(given, bool) and given > 1):
        return given
    raise ValueError(f"is no number of labelled rows; allowed: {ALLOWED}")


Size = Annotated[int | Literal["all"], BeforeValidator(_check_size)]
"""A number of labelled rows, training and validation together."""


def list_sizes(sizes: Sequence[int | str]) -> list[int]:
    """List the sizes below all rows, smallest first; final trials are the trainings on all."""
    return sorted({size for size in sizes if isinstance(size, int)})


def sizes_faults(sizes: Sequence[int | str], seeds: Sequence[int]) -> Iterator[tuple[Steps, str]]:
    """Say where sizes stand twice, or where there are too few seeds for the chains that they need."""
    for at, size in enumerate(sizes):
        if size in sizes[:at]:
            yield ("sizes", at), f"{size} stands twice; each may stand once"
    if sizes and not list_sizes(sizes):
        yield ("sizes",), "names no number of rows, and a curve has two points or more; add one, such as `[100, all]`"
    elif sizes and len(seeds) < LEAST_CHAINS:
        told = f"each seed draws a chain of subsets, and {len(seeds)} seeds are too few to compare methods over them"
        more = [*seeds, *(seed for seed in range(1, 100) if seed not in seeds)][:LEAST_CHAINS]
        yield ("seeds",), sentence(told, remedy=f"give {LEAST_CHAINS} or more, such as `seeds: {more}`")
