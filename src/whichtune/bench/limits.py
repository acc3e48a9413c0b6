"""What physics allows: the least arithmetic of a study over the rate at which this machine multiplies matrices.

Matrix products of the trunk alone, 2 operations a weight and token forward, 4 with a backward pass through frozen
weights, 6 through trained ones (Kaplan et al. 2020, section 2.1); attention, norms and heads come on top.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from whichtune.bench.peer import Job
from whichtune.measure.device import synchroniser
from whichtune.models.backbone import Backbone
from whichtune.models.wide_products import can_widen, project
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec
from whichtune.spec.soft_prompts import PromptTuningSpec

SIDE, CARD_SIDE = 512, 8192
"""Rows and columns of the matrices on a CPU and on a GPU."""
REPEATS = 100
"""Products of a few milliseconds each: one of them meets a moment in which nothing else runs."""
FORWARD, THROUGH_FROZEN, THROUGH_TRAINED = 2, 4, 6


@dataclass(frozen=True)
class Size:
    """What the least work of a study follows from."""

    blocks: int
    weights: int
    """Elements of all blocks' matrices (N)."""
    tokens: dict[str, int]
    """Real tokens of each split."""
    rows: dict[str, int]


def measure_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Return operations a second of a product of two square matrices, the best of many, of both libraries on a CPU."""
    side = SIDE if device.type == "cpu" else CARD_SIDE
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    ways = [torch.mm, project] if device.type == "cpu" and can_widen() else [torch.mm]
    best, wait = float("inf"), synchroniser(device) or (lambda: None)
    for multiply in ways * REPEATS:
        wait()
        start = time.perf_counter()
        multiply(first, second)
        wait()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def count_weights(backbone: Backbone) -> int:
    """Count the elements of the blocks' matrices."""
    return sum(tensor.numel() for tensor in backbone.blocks.parameters() if tensor.dim() >= 2)


def count_work(jobs: list[Job], size: Size) -> float:
    """Return the least operations of some trials: what is frozen below everything that trains is run once for all."""
    shared = max((_shared(job, size) for job in jobs), default=0.0)
    return shared + sum(sum(_own(job, size)) for job in jobs)


def _frozen_blocks(job: Job, size: Size) -> int:
    """Count the blocks below everything that a method trains."""
    if isinstance(job.method, FrozenFeaturesSpec):
        return size.blocks
    return size.blocks - job.method.blocks if isinstance(job.method, LastLayersSpec) else 0


def _shared(job: Job, size: Size) -> float:
    return FORWARD * size.weights * _frozen_blocks(job, size) / size.blocks * sum(size.tokens.values())


def _own(job: Job, size: Size) -> Iterator[float]:
    """Yield a trial's own operations: training, validation after every epoch, the test rows."""
    weights = size.weights * (size.blocks - _frozen_blocks(job, size)) / size.blocks
    virtual = job.method.virtual_tokens if isinstance(job.method, PromptTuningSpec) else 0
    tokens = {split: count + virtual * size.rows[split] for split, count in size.tokens.items()}
    trained = isinstance(job.method, FullSpec | LastLayersSpec)
    epochs = job.training.epochs
    yield (THROUGH_TRAINED if trained else THROUGH_FROZEN) * weights * tokens["train"] * epochs
    yield FORWARD * weights * tokens["validation"] * max(1, int(epochs))
    if job.tests:
        yield FORWARD * weights * tokens["test"]
