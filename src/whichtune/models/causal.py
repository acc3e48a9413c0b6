"""Language models: running rows behind a cache, and the scores of tokens at the rows a layout names.

Whatever the family, its trunk is run with rows that are embedded already, the mask and the places of the layout, so
virtual rows and both sides of padding work as they do elsewhere. Nothing is inferred from pad ids. B sequences, W new
rows, P rows in the cache, V tokens in the vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from whichtune.errors import ModelError
from whichtune.models.backbone import Backbone
from whichtune.models.layout import Layout
from whichtune.models.output_head import OutputHead, table_of


@dataclass(frozen=True)
class State:
    """Where a batch of sequences stands: the rows that ran, with the keys and values they left behind.

    Running rows behind a state takes its cache over; `repeated` gives copies to those who need the state again.
    """

    cache: Any
    """Keys and values of every block, as the trunk keeps them."""
    real: Tensor
    """[B, P] bool: rows that exist."""

    @property
    def lengths(self) -> Tensor:
        """[B] int64: rows that exist, which is the place of the next one."""
        return self.real.sum(dim=1)

    def repeated(self, count: int = 1) -> State:
        """Return a copy with each sequence so many times: what several items share is run once."""
        cache = copy.deepcopy(self.cache)
        if count > 1:
            cache.batch_repeat_interleave(count)
        return State(cache, self.real.repeat_interleave(count, dim=0))

    def chosen(self, rows: Tensor) -> State:
        """Return the given sequences, [N] int64, in that order; one may come often or not at all.

        The cache is taken over.
        """
        self.cache.batch_select_indices(rows)
        return State(self.cache, self.real[rows])


def require_output(backbone: Backbone) -> OutputHead:
    """Return what scores the next token, or raise a `ModelError` where a backbone predicts none."""
    if backbone.output is None:
        raise ModelError(
            f"{backbone.origin}: the family '{backbone.anatomy.family}' scores no next token here",
            remedy="choose a causal language model with its output head, such as `smollm2` or `gpt2`",
        )
    return backbone.output


def score_tokens(backbone: Backbone, hidden: Tensor) -> Tensor:
    """Score the next token behind each hidden row, [..., H] -> [..., V].

    The vocabulary is wide: give it the rows that have a target, `hidden[layout.targets]`, not all of them.
    """
    return require_output(backbone)(hidden, table_of(backbone.trunk, backbone.anatomy.tokens))


def run_behind(
    backbone: Backbone, embedded: Tensor, layout: Layout, state: State | None = None
) -> tuple[Tensor, State]:
    """Run rows behind those of a state; return their hidden rows, [B, W, H], and the state after them.

    The layout's positions count from 0 in the new rows; where they stand in the whole follows from the state. Rows
    that more rows are to follow must be padded on the left, where the family attends to a window.
    """
    real = layout.real if state is None else torch.cat([state.real, layout.real], dim=1)
    positions = layout.positions if state is None else layout.positions + state.lengths[:, None]
    _require_places(backbone, real)
    inputs = {
        "inputs_embeds": embedded,
        "attention_mask": real.long(),
        "position_ids": positions + backbone.anatomy.position_offset,
        "past_key_values": None if state is None else state.cache,
        "use_cache": True,
    }
    done = cast(Any, backbone.trunk)(**inputs)
    return done.last_hidden_state, State(done.past_key_values, real)


def end_flush(backbone: Backbone, embedded: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    """Let every sequence end in the last column, so that what follows stands right behind it.

    Padding between virtual rows and a text may stay where it is, since masks and places skip it; not so where a block
    attends to a window of columns.
    """
    flush = not backbone.anatomy.local and bool(layout.real[:, -1].all())
    return (embedded, layout) if flush else pack_left(embedded, layout)


def pack_left(embedded: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    """Move all padding to the left; the order of the real rows stays."""
    order = layout.real.int().argsort(dim=1, stable=True)
    targets = None if layout.targets is None else layout.targets.gather(1, order)
    packed = replace(
        layout,
        real=layout.real.gather(1, order),
        positions=layout.positions.gather(1, order),
        read=layout.read.gather(1, order),
        targets=targets,
    )
    return embedded.gather(1, order[:, :, None].expand_as(embedded)), packed


def _require_places(backbone: Backbone, real: Tensor) -> None:
    most, longest = backbone.anatomy.positions, int(real.sum(dim=1).max()) if len(real) else 0
    if most is not None and longest > most:
        allowed = f"at most {most}, the context of the model"
        raise ModelError("rows of prompt and completion", value=longest, allowed=allowed, remedy="shorten either")
