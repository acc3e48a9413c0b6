"""A backbone, a head and what a method put there, as one function from a batch to outputs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from whichtune.engine.recomputing import recomputing
from whichtune.engine.sparing import is_much, sparing
from whichtune.layers.heads import Head
from whichtune.measure.modes import holding_modes, modes, wanted_modes
from whichtune.methods.contracts import Attachment, Inputs, unchanged
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch, Batched
from whichtune.models.features import FeatureBatch
from whichtune.models.image_batch import ImageBatch
from whichtune.models.layout import Layout
from whichtune.models.pair import ROLES, Pair, Role
from whichtune.models.pair_batch import PairBatch


@dataclass
class Assembly:
    """One candidate's model; several may stand on one backbone, each with its own head and attachment."""

    backbone: Backbone
    head: Head
    attachment: Attachment
    checkpoints: bool = False
    """Compute blocks again in the backward pass instead of keeping their rows."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.backbone.device

    def __call__(self, batch: Batched) -> Tensor:
        """Return the outputs of a batch, [B, outputs] or [T, vocabulary]: the whole way from ids or pixels.

        Features of a frozen trunk go straight to the head.
        """
        if isinstance(batch, FeatureBatch):
            return self.head(batch.features)
        if isinstance(batch, PairBatch):
            return self.head(torch.cat([self.pool(batch, role) for role in ROLES], dim=1))
        assert isinstance(batch, Batch | ImageBatch)  # noqa: S101 - there are no others
        backbone, pooling = self.backbone, self.attachment.pooling
        want = partial(self.head.looks_at, backbone, pooling=pooling)
        rowwise = self._is_rowwise(self.attachment)
        hidden, layout = run_attached(backbone, self.attachment.inputs, batch, want, rowwise=rowwise)
        return self.head.answer(backbone, hidden, layout, pooling)

    def packs(self, batch: Batch) -> bool:
        """Tell whether a pass over a batch leaves its padding out."""
        wanted = self.head.looks_at(self.backbone, batch.layout, self.attachment.pooling)
        return self._is_rowwise(self.attachment) and self.backbone.packs(batch.layout, wanted)

    def run_plain(self, batch: Batched) -> Tensor:
        """Return the outputs of a batch without what the method puts in front; meant for when it is taken off."""
        attachment = self.attachment
        parts = {role: replace(part, inputs=unchanged) for role, part in attachment.parts.items()}
        return replace(self, attachment=replace(attachment, inputs=unchanged, parts=parts))(batch)

    def pool(self, batch: Batched, role: Role | None = None) -> Tensor:
        """Return one row a sequence, [B, F]: what a head over features reads of a batch, or of one half of it."""
        backbone, attachment = self.backbone, self.attachment
        if role is not None:
            assert isinstance(backbone, Pair)  # noqa: S101 - only pairs have halves
            backbone, attachment = backbone.parts[role], attachment.parts[role]
            batch = getattr(batch, role) if isinstance(batch, PairBatch) else batch
        assert isinstance(batch, Batch | ImageBatch)  # noqa: S101
        want = partial(backbone.looks_at, pooling=attachment.pooling)
        rowwise = self._is_rowwise(attachment)
        hidden, layout = run_attached(backbone, attachment.inputs, batch, want, rowwise=rowwise)
        return backbone.pool(hidden, layout, attachment.pooling)

    @contextmanager
    def fitting(self) -> Generator[None]:
        """Put what trains into train mode and everything else into eval mode; both are restored on every path."""
        with holding_modes(self._fitting_modes), recomputing(self.backbone.blocks, on=self.checkpoints):
            yield

    @contextmanager
    def predicting(self, *, merge: bool = True) -> Generator[bool]:
        """Eval mode, the adapter merged where that is possible; yields whether it is merged.

        Tensors that are made inside are of no use to a later training step: nothing may be kept of them.
        """
        merged = merge and self.attachment.merge is not None
        with modes((), self._everything()):
            if merged:
                self.attachment.merge()  # type: ignore[misc]
            try:
                with torch.inference_mode():
                    yield merged
            finally:
                if merged:
                    self.attachment.unmerge()  # type: ignore[misc]

    def _is_rowwise(self, attachment: Attachment) -> bool:
        """Tell whether rows may be packed: a method's parts treat them one by one, and no block misses the packing."""
        return attachment.rowwise and not self.checkpoints

    @cached_property
    def _fitting_modes(self) -> tuple[tuple[nn.Module, bool], ...]:
        """Which module trains: looked up once, since a step over features is shorter than a walk over a trunk."""
        return wanted_modes(self.attachment.active, self._everything())

    def _everything(self) -> nn.ModuleList:
        """Every module with a mode: a prompt's encoder stands beside the trunk, not in it."""
        return nn.ModuleList([self.backbone.trunk, self.head, *self.attachment.active])


def run_attached(
    backbone: Backbone,
    inputs: Inputs,
    batch: Batch | ImageBatch,
    want: Callable[[Layout], Tensor] | None = None,
    *,
    rowwise: bool = False,
) -> tuple[Tensor, Layout]:
    """Run one trunk behind what a method puts in front: hidden rows [B, W, H] and their layout.

    `want` tells which rows are looked at, [B, W] bool, where those are not all; what comes back in the place of
    others means nothing.
    `rowwise` says that the method's own parts treat rows one by one.
    """
    rows, layout = inputs(backbone.embed(batch), batch.layout)
    spares = backbone.spares and is_much(rows) and torch.is_grad_enabled()
    with sparing(backbone.blocks) if spares else nullcontext():
        if not isinstance(batch, Batch):
            return backbone.run(rows, layout), layout
        wanted = None if want is None or not backbone.narrows else want(layout)
        hidden = backbone.run(rows, layout, batch.segments, rowwise=rowwise, prefix=batch.prefix, wanted=wanted)
    return hidden, layout
