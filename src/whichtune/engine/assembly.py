"""A backbone, a head and what a method put there, as one function from a batch to outputs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whichtune.engine.recomputing import recomputing
from whichtune.layers.heads import Head
from whichtune.measure.modes import modes
from whichtune.methods.contracts import Attachment
from whichtune.models.backbone import Backbone
from whichtune.models.batch import Batch


@dataclass
class Assembly:
    """One candidate's model; several may stand on one backbone, each with its own head and attachment."""

    backbone: Backbone
    head: Head
    attachment: Attachment
    recompute: bool = False
    """Compute blocks again in the backward pass instead of keeping their rows."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.backbone.device

    def __call__(self, batch: Batch) -> Tensor:
        """Return the outputs of a batch, [B, outputs] or [T, vocabulary]: the whole way from token ids."""
        embedded = self.backbone.embed(batch)
        rows, layout = self.attachment.inputs(embedded, batch.layout)
        hidden = self.backbone.run(rows, layout, batch.segments)
        return self.head.answer(self.backbone, hidden, layout, self.attachment.pooling)

    @contextmanager
    def fitting(self) -> Generator[None]:
        """Put what trains into train mode and everything else into eval mode; both are restored on every path."""
        with modes(self.attachment.active, self._everything()), recomputing(self.backbone.blocks, on=self.recompute):
            yield

    @contextmanager
    def predicting(self, *, merge: bool = True) -> Generator[bool]:
        """Eval mode, no gradients, the adapter merged where that is possible; yields whether it is merged."""
        merged = merge and self.attachment.merge is not None
        with modes((), self._everything()):
            if merged:
                self.attachment.merge()  # type: ignore[misc]
            try:
                with torch.no_grad():
                    yield merged
            finally:
                if merged:
                    self.attachment.unmerge()  # type: ignore[misc]

    def _everything(self) -> nn.ModuleList:
        """Every module with a mode: a prompt's encoder stands beside the trunk, not in it."""
        return nn.ModuleList([self.backbone.trunk, self.head, *self.attachment.active])
