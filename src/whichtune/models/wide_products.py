"""Products of linear maps in float32 by oneDNN, for processors whose full width MKL leaves unused.

torch hands float32 products on a CPU to MKL, which chooses its code by the processor's maker, and gives 256 bits at a
time to processors of others that could take 512. oneDNN, which torch carries as well, looks at what a processor can
do. The mathematics is the same, rounded otherwise (T1); weights stay where and as they are. `benchmarks/products.py`
measures both.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from whichtune.models.transposed import is_transposed

LEAST_MULTIPLICATIONS = 2**23
"""Of a product: a smaller one is over before a call's own time is made good, and that of preparing for new shapes."""
TRIED_ROWS, TRIED_WIDTH = 48, 64
CLOSE = 1e-4


def project(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows [..., in] times weight [out, in], plus bias [out]: by oneDNN where it is worth it, else as ever."""
    return _project(rows, weight, bias) if _is_meant(rows, weight, bias) else functional.linear(rows, weight, bias)


def _project(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by oneDNN; the result may be written into, as that of a linear map may."""
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (rows, weight, bias)):
        made: Tensor = _Project.apply(rows, weight, bias)  # type: ignore[assignment]
        return made.view(*rows.shape[:-1], -1)  # out here: a view that such a function makes must not be written into
    return _multiply(rows, weight, bias)


def widen_products(trunk: nn.Module) -> bool:
    """Let every plain linear map of a trunk in float32 multiply this way; return whether this build of torch can.

    Maps keep their class and tensors, so whatever wraps or replaces them finds what it expects.
    """
    if not can_widen():
        return False
    widen_maps(trunk)
    return True


def widen_maps(trunk: nn.Module) -> None:
    """Do what `widen_products` does, where it is known that this build of torch can."""
    for module in trunk.modules():
        turned = is_transposed(module)
        if (turned or type(module) is nn.Linear) and "forward" not in vars(module):
            cast(Any, module).forward = partial(_run, module, turned)


def can_widen() -> bool:
    """Tell whether oneDNN is here and gives the products that MKL gives."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    draw = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(size, TRIED_WIDTH, generator=draw) for size in (TRIED_ROWS, 2 * TRIED_WIDTH))
    bias, laid = torch.randn(len(weight), generator=draw), rows.view(2, -1, TRIED_WIDTH)
    plain = functional.linear(rows, weight)
    try:
        pairs = [(_multiply(laid, weight, bias).view_as(plain), plain + bias)]
        pairs.append((_multiply(plain, weight.t(), None), plain @ weight))
        pairs.append((_multiply(plain.t(), rows.t(), None), plain.t() @ rows))
        return all(torch.allclose(*pair, atol=CLOSE, rtol=CLOSE) for pair in pairs)
    except RuntimeError:
        return False


def _run(module: Any, turned: bool, rows: Tensor) -> Tensor:
    weight: Tensor = module.weight.t() if turned else module.weight
    if _is_meant(rows, weight, module.bias):
        return _project(rows, weight, module.bias)
    return type(module).forward(module, rows)


def _is_meant(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    tensors = (rows, weight) if bias is None else (rows, weight, bias)
    return (
        rows.numel() * weight.shape[0] >= LEAST_MULTIPLICATIONS
        and all(one.dtype == torch.float32 for one in tensors)
        and rows.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def _multiply(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows [..., in] times weight [out, in], whatever the strides of both."""
    weight = weight.contiguous() if 0 in weight.stride() else weight  # one row in the place of many is no matrix to it
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _Project(torch.autograd.Function):
    """A product that keeps what its gradients need, and no more: rows where a weight trains, weights where rows do."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return [N, out]: one row after another, whatever stands in front."""
        trains, passes = ctx.needs_input_grad[1], ctx.needs_input_grad[0]
        ctx.save_for_backward(rows if trains else None, weight if passes else None)
        ctx.front = rows.shape[:-1]
        return _multiply(rows.reshape(-1, rows.shape[-1]), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        """Return the gradients that are asked for."""
        rows, weight = ctx.saved_tensors
        grad_rows = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_rows = _multiply(grad, weight.t(), None).view(*ctx.front, -1)
        if ctx.needs_input_grad[1]:
            grad_weight = _multiply(grad.t(), rows.reshape(-1, rows.shape[-1]).t(), None)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=0)
        return grad_rows, grad_weight, grad_bias
