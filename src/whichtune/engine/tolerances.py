"""How far two computations of the same logits may lie apart, as a share of the logits' standard deviation.

float32     1e-5    sums in another order: batch size, padding, kernel, merged against unmerged
float16     1e-2    ten bits of mantissa, through a dozen blocks
bfloat16    5e-2    seven bits of mantissa, through a dozen blocks
nf4         1e-3    four-bit weights against their dequantized twin: the same numbers, multiplied by another kernel
"""

from __future__ import annotations

from torch import Tensor

TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2, "nf4": 1e-3}


def distance(left: Tensor, right: Tensor) -> float:
    """Return the greatest difference as a share of the standard deviation of `right` (at least 1e-6 of its size)."""
    spread = float(right.float().std()) if right.numel() > 1 else 0.0
    scale = max(spread, 1e-6 * float(right.float().abs().max()), 1e-12)
    return float((left.float() - right.float()).abs().max()) / scale
