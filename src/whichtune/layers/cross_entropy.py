"""Cross-entropy over a wide vocabulary, some rows at a time.

`log_softmax` keeps a second table of scores in float32 for the backward pass, and the pass itself makes two more. Here
a row leaves one number behind, the logarithm of the sum of its exponentials, and the gradient is made from the scores
themselves, in their own type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 16_000_000
"""Bytes of scores in float32 that are looked at together."""


def sum_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy [] of scores [T, V] with targets [T], summed over the rows (in float32, nats)."""
    total: Tensor = _SumCrossEntropy.apply(scores, targets)  # type: ignore[assignment]
    return total


def _rows_of(scores: Tensor) -> int:
    return max(1, CHUNK_BYTES // (4 * scores.shape[-1]))


class _SumCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor) -> Tensor:
        sums = torch.cat([part.float().logsumexp(dim=1) for part in scores.split(_rows_of(scores))])
        ctx.save_for_backward(scores, targets, sums)
        return (sums - scores.gather(1, targets[:, None])[:, 0].float()).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        scores, targets, sums = ctx.saved_tensors
        found = torch.empty_like(scores)
        size = _rows_of(scores)
        for start in range(0, len(scores), size):
            own = slice(start, start + size)
            shares = (scores[own].float() - sums[own, None]).exp_()
            rows = torch.arange(len(shares), device=shares.device)
            shares[rows, targets[own]] -= 1
            found[own] = shares.mul_(grad)
        return found, None
