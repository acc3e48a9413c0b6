"""One pass over packed rows: from the inputs of a padded pass to hidden rows that stand where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from whichtune.models.layout import Layout
from whichtune.models.narrowing import find_questions, narrowing
from whichtune.models.packing import find_packing, packing_attention


def run_packed(
    trunk: nn.Module, inputs: Mapping[str, Any], layout: Layout, last: tuple[nn.Module, Tensor] | None = None
) -> Tensor:
    """Run the real rows of a batch as one, [1, T, E], and return the hidden rows where they belong, [B, W, H].

    `inputs` are those of a padded pass, by the names of the trunk's forward. `last` is the last block and the rows that
    are wanted of it, [B, W] bool; what comes back in the place of the others means nothing.
    """
    own = {name: one[layout.real][None] if isinstance(one, Tensor) else one for name, one in inputs.items()}
    packing = find_packing(layout)
    narrow = nullcontext() if last is None else narrowing(last[0], find_questions(packing, layout, last[1]))
    with packing_attention(trunk, packing), narrow:
        rows = trunk(**own | {"attention_mask": None}).last_hidden_state[0]
    places = layout.real.flatten().nonzero()[:, 0]
    hidden = rows.new_zeros(layout.real.numel(), rows.shape[-1]).index_copy(0, places, rows)
    return hidden.view(*layout.real.shape, -1)
