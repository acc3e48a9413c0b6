"""A loaded backbone: trunk, anatomy and text encoder, with the few ways in which anything may use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.data.batch import Batch
from whichtune.data.layout import Layout
from whichtune.models.anatomy import Anatomy, Dimensions, Projection
from whichtune.models.encoder import TextEncoder


@dataclass(frozen=True)
class LoadRequest:
    """How a backbone must be loaded."""

    dtype: str | None = None
    """Type of the weights in memory; the backbone spec's own when None."""
    attention: str = "sdpa"
    """Attention kernel."""
    quantization: None = None
    """Four-bit weights come with the method that needs them."""


@dataclass
class Backbone:
    """A pretrained model without a task's head."""

    trunk: nn.Module
    anatomy: Anatomy
    config: Mapping[str, Any]
    """The configuration's fields, after blocks were cut."""
    encoder: TextEncoder
    fingerprint: str
    """Of the weights as loaded."""
    notes: tuple[str, ...] = ()
    takes: frozenset[str] = field(default_factory=frozenset)
    """Names the trunk's forward takes."""

    @property
    def device(self) -> torch.device:
        """Where the trunk is."""
        return next(self.trunk.parameters()).device

    @property
    def hidden(self) -> int:
        """Width of the hidden rows."""
        return int(self.trunk.config.hidden_size)

    @property
    def dimensions(self) -> Dimensions | None:
        """Sizes by the configuration alone, or None where the family has no formula."""
        return self.anatomy.dimensions(self.config)

    @property
    def blocks(self) -> nn.ModuleList:
        """The list of blocks."""
        found = self.trunk.get_submodule(self.anatomy.blocks)
        assert isinstance(found, nn.ModuleList)  # noqa: S101 - the anatomy was checked at loading
        return found

    @property
    def inert(self) -> list[str]:
        """Names of the trunk's tensors whose true gradient is zero, and of those no head reaches."""
        own = [f"{self.block_path(index)}.{name}" for index in range(len(self.blocks)) for name in self.anatomy.inert]
        return [*own, *self.anatomy.unread]

    def block_path(self, index: int) -> str:
        """Path of a block."""
        return f"{self.anatomy.blocks}.{index}"

    def module(self, path: str) -> Any:
        """Find a module of the trunk."""
        return self.trunk.get_submodule(path)

    def projection(self, block: int, word: str) -> tuple[str, nn.Module, Projection]:
        """Find a projection of a block: full path, module, and how the projection stands in it."""
        projection = self.anatomy.find(word)
        path = f"{self.block_path(block)}.{projection.path}"
        return path, self.module(path), projection

    def unreached(self, pooling: str) -> list[str]:
        """Names of the trunk's tensors that a head with this pooling does not reach."""
        if pooling == "default" or self.anatomy.pooler is None:
            return []
        return [f"{self.anatomy.pooler}.{name}" for name, _ in self.module(self.anatomy.pooler).named_parameters()]

    def embed(self, batch: Batch) -> Tensor:
        """Look up the token rows, [B, W, hidden]; positions and segments are added by the trunk."""
        return self.module(self.anatomy.tokens)(batch.ids)

    def run(self, embedded: Tensor, layout: Layout, segments: Tensor | None) -> Tensor:
        """Run the trunk over embedded rows, [B, W, hidden]: the family's own forward, laid out by us."""
        given: dict[str, Any] = {"inputs_embeds": embedded, "attention_mask": layout.real.long()}
        if "position_ids" in self.takes:
            given["position_ids"] = layout.positions + self.anatomy.position_offset
        if "token_type_ids" in self.takes and segments is not None:
            given["token_type_ids"] = _widen(segments, embedded.shape[1])
        return self.trunk(**given).last_hidden_state

    def pool(self, hidden: Tensor, layout: Layout, pooling: str) -> Tensor:
        """Read one row a sequence, [B, hidden]; `default` is the family's way, through its pooler where it has one."""
        way = self.anatomy.pooling if pooling == "default" else pooling
        if way == "mean":
            read = layout.read.unsqueeze(-1).to(hidden.dtype)
            return (hidden * read).sum(dim=1) / read.sum(dim=1)
        place = layout.first if way == "first" else layout.last
        row = hidden[torch.arange(len(hidden), device=hidden.device), place]
        if pooling == "default" and self.anatomy.pooler is not None:
            return self.module(self.anatomy.pooler)(
                row.unsqueeze(1)
            )  # a pooler takes the first of the rows it is given
        return row


def _widen(segments: Tensor, width: int) -> Tensor:
    """Give rows that were put in front the first segment."""
    missing = width - segments.shape[1]
    return nn.functional.pad(segments, (missing, 0)) if missing else segments
