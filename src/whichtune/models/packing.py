"""No padding in the trunk: the real tokens of a batch run as one long row, and attention sees each text by itself.

Random batches of short texts are about 40 % padding, and everything in a trunk but attention treats rows one by one:
products, norms and activations over padding are work for nothing. Packed, a batch is [1, T, E], T being its real rows;
only attention, a few per cent of the work at these lengths, lays them out as [B, W] again. It is reached through the
attention interface of `transformers`, so there is no code per family: an attention that is registered there without a
mask function gets no mask at all, and each module says itself whether it is causal.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from whichtune.models.layout import Layout

NAME = "whichtune-packed"
"""What the attention is called where `transformers` looks it up."""
LEAST_PADDING = 0.05
"""Share of padding below which a batch runs as it is: laying rows out anew in every block costs more than that."""


WINDOWS = ("sliding_window", "local_attention", "attention_chunk_size", "attention_window")


@dataclass(frozen=True)
class Packing:
    """Where the real rows of a batch stand."""

    batch: int
    width: int
    places: Tensor
    """[T] int64: of each packed row, its place in [B x W] with texts at the left."""
    real: Tensor
    """[B, 1, 1, W] bool: rows that may be looked at."""

    def spread(self, rows: Tensor) -> Tensor:
        """Lay packed rows [1, H, T, D] out as [B, H, W, D]; zeros stand in for padding."""
        _, heads, _, width = rows.shape
        flat = rows.new_zeros(self.batch * self.width, heads, width)
        flat = flat.index_copy(0, self.places, rows[0].transpose(0, 1))
        return flat.view(self.batch, self.width, heads, width).transpose(1, 2)

    def gather(self, rows: Tensor) -> Tensor:
        """Pack [B, H, W, D] to [1, T, H, D]."""
        return rows.reshape(self.batch * self.width, *rows.shape[2:])[self.places][None]


_CURRENT: ContextVar[Packing | None] = ContextVar("packing", default=None)


def find_packing(layout: Layout) -> Packing:
    """Return how the real rows of a layout stand side by side."""
    lengths = layout.real.sum(dim=1)
    width = int(lengths.max())
    columns = torch.arange(width, device=lengths.device)
    real = columns < lengths[:, None]
    return Packing(len(lengths), width, real.flatten().nonzero()[:, 0], real[:, None, None, :])


def is_worth_it(layout: Layout) -> bool:
    """Tell whether enough of a batch is padding."""
    return float(layout.real.float().mean()) < 1 - LEAST_PADDING


def find_window(config: Mapping[str, Any]) -> str | None:
    """Name the setting by which attention reaches only so far; a pass without masks would not know of it."""
    kinds = config.get("layer_types") or ()
    if any(kind != "full_attention" for kind in kinds):
        return "layer_types"
    return next((name for name in WINDOWS if config.get(name)), None)


def run_packed(trunk: nn.Module, inputs: Mapping[str, Any], layout: Layout) -> Tensor:
    """Run the real rows of a batch as one, [1, T, E], and return the hidden rows where they belong, [B, W, H].

    `inputs` are those of a padded pass, by the names of the trunk's forward.
    """
    own = {name: one[layout.real][None] if isinstance(one, Tensor) else one for name, one in inputs.items()}
    with packing_attention(trunk, find_packing(layout)):
        rows = trunk(**own | {"attention_mask": None}).last_hidden_state[0]
    hidden = rows.new_zeros(*layout.real.shape, rows.shape[-1])
    return hidden.masked_scatter(layout.real[:, :, None], rows)


@contextmanager
def packing_attention(trunk: nn.Module, packing: Packing) -> Generator[None]:
    """Let the attention of a trunk read packed rows while its forward pass runs."""
    config: Any = cast(Any, trunk).config
    before, token = config._attn_implementation, _CURRENT.set(packing)
    config._attn_implementation = register()
    try:
        yield
    finally:
        config._attn_implementation = before
        _CURRENT.reset(token)


def register() -> str:
    """Make the attention known to `transformers` and return its name."""
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """Attend within each text of packed rows: query, key and value [1, H, T, D] to [1, T, H, D]."""
    assert attention_mask is None, "an attention without a mask function gets no mask"  # noqa: S101
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    packing = _CURRENT.get()
    assert packing is not None, "packed attention outside of a packed pass"  # noqa: S101
    rows = (packing.spread(query), packing.spread(key), packing.spread(value))
    # Texts stand at the left, so where a row looks at earlier ones alone, none of them is padding.
    causal = how.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    mask = None if causal else packing.real
    found, _ = sdpa_attention_forward(module, *rows, mask, **how)
    return packing.gather(found), None  # as the interface asks: rows before heads
