"""Estimating the one pass of a frozen trunk over every row, on which a head then trains alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from whichtune.engine.assembly import Assembly
from whichtune.engine.features import find_distinct
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.shapes import Law, choose_samples, fit_law, list_evaluation, shape_rows
from whichtune.measure.device import synchroniser
from whichtune.measure.flops import count_flops
from whichtune.measure.modes import modes
from whichtune.models.batch import Encoded, EncodedRows
from whichtune.models.image_batch import EncodedImages
from whichtune.models.pair import ROLES, Role
from whichtune.models.pair_batch import EncodedPairs

TIMED_PASSES = 3
TIMED_ROWS = 32
"""Rows of a timed pass at most."""
One = Encoded | EncodedImages


@dataclass(frozen=True)
class Passing:
    """One encoder over some rows."""

    law: Law
    """Operations of a batch."""
    rate: float
    """Operations a second."""


def list_halves(rows: EncodedRows) -> dict[Role | None, One]:
    """Return what each encoder reads of some rows; one without a role reads them whole."""
    if isinstance(rows, EncodedPairs):
        return {role: getattr(rows, role) for role in ROLES}
    assert isinstance(rows, Encoded | EncodedImages)  # noqa: S101 - there are no others
    return {None: rows}


def gauge_passing(assembly: Assembly, train: EncodedRows, size: int, precision: str) -> dict[Role | None, Passing]:
    """Count and time the trunk, or both of a pair, over a few of the training rows."""
    return {role: _gauge_half(assembly, role, rows, size, precision) for role, rows in list_halves(train).items()}


def estimate_features(
    passing: Mapping[Role | None, Passing], splits: Mapping[str, EncodedRows], size: int
) -> tuple[float, float]:
    """Return seconds and operations of passing every distinct text and image of all splits once."""
    seconds = operations = 0.0
    for rows in splits.values():
        for role, half in list_halves(rows).items():
            distinct = half.distinct() if isinstance(half, EncodedImages) else find_distinct(half)[0]
            needed = passing[role].law.total(list_evaluation(distinct, size))
            operations += needed
            seconds += needed / passing[role].rate
    return seconds, operations


def _gauge_half(assembly: Assembly, role: Role | None, rows: One, size: int, precision: str) -> Passing:
    arithmetic = Arithmetic(precision, assembly.device)
    wait = synchroniser(assembly.device) or (lambda: None)
    samples = list(choose_samples(rows))
    with modes((), assembly.backbone.trunk), torch.no_grad(), arithmetic.forward():
        counts = [
            count_flops(lambda some=some: assembly.pool(rows.collate(some).to(assembly.device), role)).forward
            for some in samples
        ]
        law = fit_law([shape_rows(rows, some) for some in samples], counts)
        order = np.argsort(rows.lengths, kind="stable")
        count = min(size, TIMED_ROWS, len(order))
        start = (len(order) - count) // 2
        timed = order[start : start + count]
        batch = rows.collate(timed).to(assembly.device)
        seconds: list[float] = []
        for _ in range(TIMED_PASSES):
            began = perf_counter()
            assembly.pool(batch, role)
            wait()
            seconds.append(perf_counter() - began)
    return Passing(law, law(shape_rows(rows, timed)) / statistics.median(seconds))
