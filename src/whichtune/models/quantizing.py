"""Four-bit storage of frozen projections: NF4, its scales quantized once more (Dettmers et al. 2023, section 3).

Only storage is in four bits: each product dequantizes its weight again, so gradients pass to whatever stands before
or beside it. `bitsandbytes` packs, unpacks and multiplies; it is loaded where something is quantized, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from whichtune.models.anatomy import Anatomy
from whichtune.models.quiet import silence_four_bit
from whichtune.models.standing_in import list_blocks
from whichtune.models.transposed import is_transposed

BLOCK = 64
"""Weights that share one scale."""
SCALE_BLOCK = 256
"""Scales that share one scale of their own; the only size the package multiplies with."""


@dataclass(frozen=True)
class Quantization:
    """How the projections of the blocks are stored."""

    form: Literal["nf4"] = "nf4"
    """Sixteen levels, the quantiles of a normal distribution."""
    double: bool = True
    """Whether the scales are quantized too: 4.13 bits a weight instead of 4.5."""
    compute: str = "float32"
    """Type of the products."""


class PackedWeight(nn.Parameter):
    """Two weights a byte, never trained; `logical` is the shape of the matrix it stands for, (out, in)."""

    logical: torch.Size

    def __new__(cls, packed: Tensor, logical: torch.Size) -> PackedWeight:  # noqa: ARG004 - for `__init__`
        """Wrap packed bytes."""
        return cast(PackedWeight, super().__new__(cls, packed, requires_grad=False))

    def __init__(self, packed: Tensor, logical: torch.Size) -> None:
        self.logical = logical

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedWeight:
        """Copy the bytes with their shape."""
        return memo.setdefault(id(self), PackedWeight(self.data.clone(), self.logical))


class FourBitLinear(nn.Module):
    """A frozen linear map in NF4; its bias stays as it was, and may train.

    Levels and scales are buffers, so that they move, are saved and are compared with everything else.
    """

    offset: Tensor | None
    block_scales: Tensor | None
    scale_levels: Tensor | None

    def __init__(self, weight: Tensor, bias: nn.Parameter | None, how: Quantization) -> None:
        """Quantize `weight` [out, in]."""
        with silence_four_bit():
            from bitsandbytes.functional import quantize_4bit

        super().__init__()
        packed, state = quantize_4bit(
            weight.detach().contiguous(), blocksize=BLOCK, compress_statistics=how.double, quant_type=how.form
        )
        self.how = how
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.weight = PackedWeight(packed, weight.shape)
        self.bias = bias
        inner = state.state2
        self.register_buffer("levels", state.code)
        self.register_buffer("scales", state.absmax)
        self.register_buffer("offset", state.offset)
        self.register_buffer("block_scales", None if inner is None else inner.absmax)
        self.register_buffer("scale_levels", None if inner is None else inner.code)

    def forward(self, rows: Tensor) -> Tensor:
        """Project rows [..., in] to [..., out], in the type asked for, or in autocast's where that is on."""
        from bitsandbytes import matmul_4bit

        lowered = torch.is_autocast_enabled(rows.device.type)
        kind = torch.get_autocast_dtype(rows.device.type) if lowered else getattr(torch, self.how.compute)
        bias = None if self.bias is None else self.bias.to(kind)
        if self.straddles:
            product = cast(Tensor, _Product.apply(rows.to(kind), self))
            product = product if bias is None else product + bias
        else:
            product = matmul_4bit(rows.to(kind), self.weight, quant_state=self._state(), bias=bias)
        return product if lowered else product.to(rows.dtype)

    @property
    def straddles(self) -> bool:
        """Whether a row of weights ends within a block, on a CPU.

        There `bitsandbytes` (0.50) takes every row for a row of blocks where the processor has AVX-512, and gives
        other weights without a word; unpacked block by block they are right everywhere.
        """
        return self.weight.device.type == "cpu" and self.in_features % BLOCK != 0

    def unpack(self) -> Tensor:
        """Return the weights that the packed ones stand for, [out, in], in float32."""
        from bitsandbytes.functional import dequantize_4bit

        state, count = self._state(), self.weight.logical.numel()
        state.shape = torch.Size([count // BLOCK, BLOCK] if count % BLOCK == 0 else [count])
        return dequantize_4bit(self.weight.data, quant_state=state).view(self.weight.logical)

    def dequantize(self, kind: torch.dtype | None = None) -> nn.Linear:
        """Return the plain linear map that this one stands for, in the type it came in unless another is given.

        The bias is shared with it.
        """
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(self.unpack().to(kind or self.dtype), requires_grad=False)
        plain.bias = cast(nn.Parameter, self.bias)
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Say the sizes and the form."""
        return f"in_features={self.in_features}, out_features={self.out_features}, form={self.how.form}"

    def _state(self) -> Any:
        """Put levels and scales together as the package wants them."""
        from bitsandbytes.functional import QuantState

        inner = None
        if self.block_scales is not None:
            inner = QuantState(
                absmax=self.block_scales, code=self.scale_levels, blocksize=SCALE_BLOCK, dtype=torch.float32
            )
        return QuantState(
            absmax=self.scales,
            shape=self.weight.logical,
            code=self.levels,
            blocksize=BLOCK,
            quant_type=self.how.form,
            dtype=torch.float32,
            offset=self.offset,
            state2=inner,
        )


class _Product(torch.autograd.Function):
    """rows @ weight.T, the weight unpacked forward and backward and kept in neither."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, module: FourBitLinear) -> Tensor:
        """Return [..., out] of rows [..., in]."""
        ctx.module = module
        return rows @ module.unpack().to(rows.dtype).T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return the gradient of the rows."""
        return grad @ ctx.module.unpack().to(grad.dtype), None


def quantize_blocks(trunk: nn.Module, anatomy: Anatomy, how: Quantization) -> Anatomy:
    """Store the projections of all blocks in four bits; return the anatomy of what they are now.

    Tables, norms, poolers and output heads stay as they are. A map stored [in, out] (GPT-2) becomes one stored
    [out, in]. Call it where `why_not_quantized` has no reason against it.
    """
    for path, module in list(find_projections(trunk, anatomy)):
        if isinstance(module, FourBitLinear):
            continue
        weight, bias = cast(Tensor, module.weight), cast("nn.Parameter | None", module.bias)
        packed = FourBitLinear(weight.T if is_transposed(module) else weight, bias, how)
        parent, _, name = path.rpartition(".")
        setattr(trunk.get_submodule(parent), name, packed.train(module.training))
    plain = {word: replace(one, transposed=False) for word, one in anatomy.projections.items()}
    return replace(anatomy, projections=plain)


def why_not_quantized(trunk: nn.Module, anatomy: Anatomy) -> str | None:
    """Return why the projections of a trunk cannot be stored in four bits, or None where they can or are."""
    reason = why_no_package()
    if reason is not None:
        return reason
    names: dict[int, list[str]] = {}
    for name, tensor in trunk.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    for path, module in find_projections(trunk, anatomy):
        if type(module) is not nn.Linear and not isinstance(module, FourBitLinear) and not is_transposed(module):
            return f"{path} is a {type(module).__name__}, which cannot be stored in four bits"
        shared = [name for name in names[id(module.weight)] if name != f"{path}.weight"]
        if shared:
            return f"{path} cannot be stored in four bits: its weight is {shared[0]} as well"
    return None


def why_no_package() -> str | None:
    """Return why `bitsandbytes` cannot be used here, or None."""
    try:
        with silence_four_bit():
            import bitsandbytes  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        if error.name != "bitsandbytes":
            return f"the package bitsandbytes cannot be loaded here ({error})"
        return "four-bit weights need the package bitsandbytes: pip install 'whichtune[quantization]'"
    except (ImportError, OSError, RuntimeError) as error:
        return f"the package bitsandbytes cannot be loaded here ({error})"
    return None


def why_no_product(module: FourBitLinear) -> str | None:
    """Multiply one row forward and backward where the module is; return why that fails, or None."""
    device = module.weight.device
    rows = torch.zeros(1, module.in_features, device=device, requires_grad=True)
    try:
        with torch.enable_grad():
            torch.autograd.grad(module(rows).sum(), rows)
    except (RuntimeError, NotImplementedError) as error:
        told = " ".join(str(error).split())[:200]
        return f"the package bitsandbytes cannot multiply four-bit weights on {device} ({told})"
    return None


def find_projections(trunk: nn.Module, anatomy: Anatomy) -> Iterator[tuple[str, nn.Module]]:
    """Yield path and module of every projection of every block; a fused one once."""
    paths = dict.fromkeys(one.path for one in anatomy.projections.values())
    for block in list_blocks(trunk, anatomy.blocks):
        for path in paths:
            whole = f"{block}.{path}"
            yield whole, trunk.get_submodule(whole)
