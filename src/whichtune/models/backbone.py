"""A pretrained model as methods see it: a trunk with its anatomy, its encoder, and one way to run it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.anatomy import Anatomy, Dimensions, Projection
from whichtune.models.batch import Batch
from whichtune.models.encoder import TextEncoder
from whichtune.models.layout import Layout
from whichtune.models.output_head import OutputHead
from whichtune.models.quantizing import Quantization

POOLINGS = ("default", "first", "mean", "last")


@dataclass(frozen=True)
class LoadRequest:
    """What a method needs of the weights before they are loaded."""

    dtype: str | None = None
    """Type of the weights in memory; the backbone's own when left out."""
    attention: str = "sdpa"
    """Attention function, as `transformers` names it."""
    quantization: Quantization | None = None
    """Storage of the projections of the blocks; as they are when left out."""


@dataclass(frozen=True)
class Backbone:
    """A trunk (inputs to hidden rows) with everything needed to feed it. B sequences, W rows each, H hidden."""

    trunk: nn.Module
    """The model without any task head; its class is nobody's business but the loader's."""
    anatomy: Anatomy
    config: Mapping[str, Any]
    """The configuration as plain values, after `keep_blocks`."""
    encoder: TextEncoder
    fingerprint: str
    """Hash of the weights as they were read, the configuration, and the number of blocks kept."""
    origin: str
    """Where the weights are from, in words, with the resolved commit or hash."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know about the loading."""
    output: OutputHead | None = None
    """What scores the next token, or None where the family predicts none or the weights came without it."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The distinct blocks, in order; each runs `anatomy.runs` times."""
        return cast(nn.ModuleList, self.trunk.get_submodule(self.anatomy.blocks))

    @property
    def dimensions(self) -> Dimensions | None:
        """Sizes by the configuration, or None where `anatomy.unmeasured` says why not."""
        return self.anatomy.dimensions(self.config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.trunk.parameters()).device

    @property
    def hidden(self) -> int:
        """Width of the hidden rows, H."""
        return int(cast(Any, self.trunk).config.hidden_size)

    @property
    def embedding_width(self) -> int:
        """Width of a row of the token table, E; some families project it to H later."""
        return int(self._tokens.weight.shape[1])

    @property
    def inert(self) -> tuple[str, ...]:
        """Full names of the tensors whose true gradient is zero."""
        paths = (self.block_path(index) for index in range(len(self.blocks)))
        own = tuple(f"{path}.{name}" for path in paths for name in self.anatomy.inert)
        return own + self.anatomy.inert_shared

    def block_path(self, index: int) -> str:
        """Return the module path of a block; negative indices count from the end."""
        return f"{self.anatomy.blocks}.{range(len(self.blocks))[index]}"

    def module(self, path: str) -> nn.Module:
        """Return a module of the trunk, or raise a `ModelError` with the nearest paths."""
        try:
            return self.trunk.get_submodule(path)
        except AttributeError:
            paths = [name for name, _ in self.trunk.named_modules() if name]
            raise ModelError("module of the backbone", value=path, remedy=did_you_mean(path, paths)) from None

    def projection(self, block: int, word: str) -> tuple[str, nn.Module, Projection]:
        """Return the full path, the module and the description of one projection of a block."""
        projection = self.anatomy.find(word)
        path = f"{self.block_path(block)}.{projection.path}"
        return path, self.module(path), projection

    def embed(self, batch: Batch) -> Tensor:
        """Look the batch's tokens up, [B, W, E]; positions and segments are added in `run`."""
        return self._tokens(batch.ids)

    def run(self, embedded: Tensor, layout: Layout, segments: Tensor | None = None) -> Tensor:
        """Run the trunk on embedded rows and return its hidden rows, [B, W, H].

        `segments` may be narrower than `embedded` when virtual rows were put in front; those belong to segment 0.
        """
        inputs: dict[str, Any] = {"inputs_embeds": embedded, "attention_mask": layout.real.long()}
        if "use_cache" in self._takes:  # held for nothing, and blocks that run again would append to it again
            inputs["use_cache"] = False
        if "position_ids" in self._takes:
            inputs["position_ids"] = layout.positions + self.anatomy.position_offset
        if segments is not None and "token_type_ids" in self._takes:
            front = embedded.shape[1] - segments.shape[1]
            inputs["token_type_ids"] = nn.functional.pad(segments, (front, 0)) if front else segments
        return self.trunk(**inputs).last_hidden_state

    def pool(self, hidden: Tensor, layout: Layout, pooling: str = "default") -> Tensor:
        """Turn hidden rows into one row a sequence, [B, H], by the rows the layout lets the head read.

        `default` is the family's way: its own row, through the trunk's pooler where there is one.
        """
        if pooling not in POOLINGS:
            allowed = ", ".join(POOLINGS)
            raise ModelError("pooling", value=pooling, allowed=allowed, remedy=did_you_mean(pooling, POOLINGS))
        way = self.anatomy.pooling if pooling == "default" else pooling
        if way == "mean":
            return _average(hidden, layout.read)
        places = layout.first if way == "first" else layout.last
        rows = hidden[torch.arange(len(hidden), device=hidden.device), places]
        return self._pass_pooler(rows) if pooling == "default" else rows

    def unreached(self, pooling: str = "default") -> tuple[str, ...]:
        """Names of the trunk's tensors that a head with this pooling does not reach."""
        skipped = f"{self.anatomy.pooler}." if self.anatomy.pooler is not None and pooling != "default" else None
        names = [name for name, _ in self.trunk.named_parameters()]
        return tuple(
            name for name in names if name in self.anatomy.unread or (skipped is not None and name.startswith(skipped))
        )

    def _pass_pooler(self, rows: Tensor) -> Tensor:
        """Pass one row a sequence through the trunk's pooler, where there is one."""
        path, activation = self.anatomy.pooler, self.anatomy.pooler_activation
        if path is None:
            return rows
        pooler = self.trunk.get_submodule(path)
        return pooler(rows[:, None]) if activation is None else self.trunk.get_submodule(activation)(pooler(rows))

    @property
    def _tokens(self) -> nn.Embedding:
        return cast(nn.Embedding, self.trunk.get_submodule(self.anatomy.tokens))

    @cached_property
    def _takes(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.trunk.forward).parameters)


def _average(hidden: Tensor, read: Tensor) -> Tensor:
    """Average the read rows in float32; what stands in other rows, even NaN, does not enter."""
    rows = hidden.float().masked_fill(~read[:, :, None], 0.0)
    return (rows.sum(dim=1) / read.sum(dim=1)[:, None]).to(hidden.dtype)
