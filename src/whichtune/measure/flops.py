"""Floating-point operations of real batches, forward and backward apart.

torch counts matrix products as they are dispatched, a multiplication and an addition as two operations. What it has
no formula for it counts as nothing; here such operations have a formula, or the count stops.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from whichtune.errors import TrialError

Output = TypeVar("Output")
Shape = Sequence[int]

PRODUCT = re.compile(
    r"""
    mm(?=_|\d|$) | matmul | gemm | gemv | (?:^|_)(?:add)?mv_?$ | (?:^|_)v?dot$
    | attention | attn | conv(?!ert) | linear | einsum | (?:^|_)(?:lstm|gru|rnn)
    """,
    re.VERBOSE,
)
"""Names of operations that multiply matrices."""

NO_PRODUCT = re.compile(
    r"upsample|(?:pre|un)pack(?:_fp16|_legacy|_sizes)*$|_pack_|_reorder_|quantize_weight|flatten_weight|combination"
)
"""Names that look like products and are none: resizing, and preparing weights."""


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one or more batches."""

    forward: int
    backward: int | None = None
    """Recomputation included; None when no backward pass was run."""

    def __add__(self, other: Flops) -> Flops:
        backward = None if self.backward is None or other.backward is None else self.backward + other.backward
        return Flops(self.forward + other.forward, backward)


def count_flops(forward: Callable[[], Output], backward: Callable[[Output], object] | None = None) -> Flops:
    """Run `forward`, then `backward` on what it returned, and count each.

    What gradient checkpointing computes again counts as backward: it runs there. Products inside kernels that torch
    does not dispatch (a CUDA extension called from Python) are not seen.

    Raises `TrialError` when an operation that multiplies matrices has no formula.
    """
    output, forward_flops = _count(forward)
    if backward is None:
        return Flops(forward_flops)
    _, backward_flops = _count(lambda: backward(output))
    return Flops(forward_flops, backward_flops)


def _count(run: Callable[[], Output]) -> tuple[Output, int]:
    counter = FlopCounterMode(display=False, custom_mapping=known_formulas())
    watch = _Watch(counter.flop_registry)
    with watch, counter:  # the counter decomposes what it can; the watch sees what is left
        output = run()
    if watch.unknown:
        names = ", ".join(sorted(watch.unknown))
        raise TrialError(
            f"FLOPs: no formula for {names}, which multiplies matrices; a count without it would be too low. "
            "Add a formula in whichtune.measure.flops or choose another kernel (execution.attention)"
        )
    return output, counter.get_total_flops()


class _Watch(TorchDispatchMode):
    """Note every operation that multiplies matrices and has no formula."""

    supports_higher_order_operators = True

    def __init__(self, formulas: dict[Any, Any]) -> None:
        super().__init__()
        self._formulas = formulas
        self.unknown: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = getattr(func, "_overloadpacket", func)
        if packet not in self._formulas and multiplies_matrices(str(packet)):
            self.unknown.add(str(packet))
        return func(*args, **(kwargs or {}))


def multiplies_matrices(name: str) -> bool:
    """Tell whether an operation's name, such as `aten.addmm`, is that of a matrix product."""
    short = name.rpartition(".")[2]
    return PRODUCT.search(short) is not None and NO_PRODUCT.search(short) is None


def _count_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores from queries and keys, then rows from scores and values; masks do not lower the count."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[-2] * (width + value[-1])


def _count_attention_backward(_gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores once more, then gradients of scores, values, queries and keys: five products for the forward two."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[-2] * (3 * width + 2 * value[-1])


def _count_matrix_vector(matrix: Shape, _vector: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(matrix)


def _count_added_matrix_vector(_added: Shape, matrix: Shape, _vector: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(matrix)


def _count_dot(left: Shape, _right: Shape, *_: Any, **__: Any) -> int:
    return 2 * left[0]


def _count_added_product(_added: Shape, left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    """A product of matrices, or of stacks of them, added to something: 2 m n k for each."""
    return 2 * prod(left) * right[-1]


def _count_linear(rows: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(rows) * weight[0]


def _count_four_bit(rows: Shape, _packed: Shape, shape: Shape, *_: Any, **__: Any) -> int:
    """A product with packed weights that stand for a matrix [out, in]; unpacking them is no product."""
    return 2 * prod(rows) * shape[0]


def _count_convolution_backward(
    gradient: Shape,
    images: Shape,
    weight: Shape,
    _biases: Shape | None,
    *geometry: Any,
    **_: Any,
) -> int:
    """As much as the forward pass for each of the gradients of images and weight that are asked for.

    torch takes the weight's gradient for that of a convolution without groups: for one channel a group it is too high
    by the number of channels.
    """
    transposed, asked = geometry[3], geometry[-1]
    places = images if transposed else gradient
    return 2 * places[0] * prod(places[2:]) * prod(weight) * sum(map(bool, asked[:2]))


def known_formulas() -> dict[Any, Callable[..., int]]:
    """Formulas for what torch counts as nothing; those of a library are there once it is loaded."""
    found = dict(FORMULAS)
    if "bitsandbytes" in sys.modules:
        packed = torch.ops.bitsandbytes
        found |= {packed.gemm_4bit: _count_four_bit, packed.gemv_4bit: _count_four_bit}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        found[torch.ops.mkldnn._linear_pointwise] = _count_linear
    return found


aten = torch.ops.aten

FORMULAS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable: _count_attention,
    aten._scaled_dot_product_fused_attention_overrideable_backward: _count_attention_backward,
    aten.mv: _count_matrix_vector,
    aten.addmv: _count_added_matrix_vector,
    aten.addmv_: _count_added_matrix_vector,
    aten.dot: _count_dot,
    aten.vdot: _count_dot,
    aten.addmm_: _count_added_product,
    aten.baddbmm_: _count_added_product,
    aten.addbmm: _count_added_product,
    aten.addbmm_: _count_added_product,
    aten._addmm_activation: _count_added_product,
    aten.convolution_backward: _count_convolution_backward,
}
"""Formulas for what torch counts as nothing or wrongly, over torch's own; each is given the shapes of the arguments."""
