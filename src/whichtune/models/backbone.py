"""A pretrained model as methods see it: a trunk with its anatomy, its encoder, and one way to run it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.anatomy import Anatomy, Dimensions, Projection
from whichtune.models.batch import Batch
from whichtune.models.dequantizing import Allowance
from whichtune.models.encoder import TextEncoder
from whichtune.models.image_batch import ImageBatch
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.layout import Layout
from whichtune.models.narrowing import is_narrow
from whichtune.models.output_head import OutputHead
from whichtune.models.packing import is_worth_it
from whichtune.models.pair_reader import PairReader
from whichtune.models.pooling import POOLINGS, find_read, pick, pool_own
from whichtune.models.prefix import Prefix, replaying
from whichtune.models.quantizing import Quantization
from whichtune.models.shared_space import SharedSpace
from whichtune.models.standing_in import list_blocks, standing_in
from whichtune.models.unpadded import run_packed
from whichtune.spec.tasks import Reads


@dataclass(frozen=True)
class LoadRequest:
    """What a method needs of the weights before they are loaded."""

    dtype: str | None = None
    """Type of the weights in memory; the backbone's own when left out."""
    attention: str = "sdpa"
    """Attention function, as `transformers` names it."""
    quantization: Quantization | None = None
    """Storage of the projections of the blocks; as they are when left out."""
    reads: Reads = "text"
    """What the task gives: it chooses the tower of a model that has two; a `pair` asks for an encoder of each."""
    unpad: bool = False
    """Whether the trunk runs the real tokens of a batch alone, where it is proved to give the same rows."""
    narrow: bool = False
    """Whether the last block runs for the rows alone that are looked at, where that is proved to give the same."""
    spare: bool = False
    """Whether a pass keeps for the backward one no rows that can be made again from others that it keeps."""
    widen: bool = False
    """Whether float32 products on a CPU are oneDNN's, and not MKL's."""
    dequantize: Allowance | None = None
    """What the plain weights of a quantized trunk may take while a trial runs; nothing when left out."""


@dataclass(frozen=True)
class Backbone:
    """A trunk (inputs to hidden rows) with everything needed to feed it. B sequences, W rows each, H hidden."""

    trunk: nn.Module
    """The model without any task head; its class is nobody's business but the loader's."""
    anatomy: Anatomy
    config: Mapping[str, Any]
    """The configuration as plain values, after `keep_blocks`."""
    reader: TextEncoder | ImageEncoder | PairReader
    fingerprint: str
    """Hash of the weights as they were read, the configuration, and the number of blocks kept."""
    origin: str
    """Where the weights are from, in words, with the resolved commit or hash."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know about the loading."""
    output: OutputHead | None = None
    """What scores the next token, or None where the family predicts none or the weights came without it."""
    shared: SharedSpace | None = None
    """How alike two rows of both towers are, or None where the model is no tower of two."""
    unpads: bool = False
    """Whether `run` may leave padding out."""
    narrows: bool = False
    """Whether `run` may leave out of the last block what is not looked at; of one that may leave padding out."""
    spares: bool = False
    """Whether a pass keeps nothing that can be made again from what else it keeps (`engine/sparing.py`)."""
    widened: bool = False
    """Whether large products of the trunk, and scores of tokens, are oneDNN's (`models/wide_products.py`)."""
    dequantizes: Allowance | None = None
    """What plain weights may take that stand in for those in four bits while a trial runs; None for nothing."""

    @property
    def encoder(self) -> TextEncoder:
        """What makes token ids of texts, or a `ModelError` where the trunk reads images."""
        if isinstance(self.reader, TextEncoder):
            return self.reader
        raise _not_read(self.anatomy, "texts")

    @property
    def blocks(self) -> nn.ModuleList:
        """The distinct blocks, in order, through all stages; each runs `anatomy.runs` times."""
        if "*" in self.anatomy.blocks:
            return nn.ModuleList([self.trunk.get_submodule(path) for path in self._block_paths])
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
        config = cast(Any, self.trunk).config
        width = getattr(config, "hidden_size", None)
        return int(config.hidden_sizes[-1] if width is None else width)  # of stages, the last one's

    @property
    def embedding_width(self) -> int:
        """Width of an embedded row, E: of the token table, which some families project to H later, or of a patch."""
        return int(self._tokens.weight.shape[1]) if self.anatomy.tokens else self.hidden

    @property
    def inert(self) -> tuple[str, ...]:
        """Full names of the tensors whose true gradient is zero."""
        paths = (self.block_path(index) for index in range(len(self.blocks)))
        own = tuple(f"{path}.{name}" for path in paths for name in self.anatomy.inert)
        return own + self.anatomy.inert_shared

    @property
    def takes_rows(self) -> bool:
        """Whether the trunk is given embedded rows, and not token ids or pixels."""
        return "inputs_embeds" in self._takes

    def block_path(self, index: int) -> str:
        """Return the module path of a block; negative indices count from the end."""
        return self._block_paths[index]

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

    def embed(self, batch: Batch | ImageBatch) -> Tensor:
        """Return what `run` begins with.

        Of texts the rows of the token table, [B, W, E]; positions and segments are added in `run`. Of images the rows
        of their patches with everything that is added to them, [B, W, E], the positions fitted to the images' size; or
        the pixels themselves, [B, C, S, S], where images pass as maps.
        """
        if isinstance(batch, Batch):
            if self.anatomy.reads == "image":
                raise _not_read(self.anatomy, "texts")
            return self._tokens(batch.ids)
        if self.anatomy.reads == "text":
            raise _not_read(self.anatomy, "images")
        pixels = batch.pixels.to(next(self.trunk.parameters()).dtype)
        if self.anatomy.form == "maps":
            return pixels
        embeddings: Any = self._embeddings
        fits = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in _takes(embeddings) else {}
        return embeddings(pixels, **fits)

    def run(
        self,
        embedded: Tensor,
        layout: Layout,
        segments: Tensor | None = None,
        *,
        rowwise: bool = False,
        prefix: Prefix | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Run the trunk on embedded rows and return its hidden rows, [B, W, H].

        `segments` may be narrower than `embedded` when virtual rows were put in front; those belong to segment 0. Of
        images that pass as maps the hidden rows are the places of the last map. `rowwise` says that whatever stands in
        the trunk beside its own parts treats rows one by one: the padding may then be left out (`models/packing.py`),
        and its rows come back as zeros. `prefix` is what the first blocks make of the batch: they do not run again.
        `wanted`, [B, W] bool, are the real rows looked at: what comes back in the place of others means nothing.
        """
        if self.anatomy.reads == "image":
            return self._run_image(embedded)
        if "inputs_embeds" not in self._takes:
            return self._run_tower(embedded, layout)
        few = wanted if rowwise and self._narrows_to(layout, wanted) else None
        packed = few is not None or (rowwise and self.unpads and is_worth_it(layout))
        inputs = self._name_inputs(embedded, layout, segments)
        known = nullcontext() if prefix is None else replaying(self.blocks, prefix.pack(layout) if packed else prefix)
        with known:
            if not packed:
                return self.trunk(**inputs).last_hidden_state
            return run_packed(self.trunk, inputs, layout, None if few is None else (self.blocks[-1], few))

    def packs(self, layout: Layout, wanted: Tensor | None = None) -> bool:
        """Tell whether a pass in which nothing but attention looks beyond a row leaves the padding of a batch out."""
        return self._narrows_to(layout, wanted) or (self.unpads and is_worth_it(layout))

    def _narrows_to(self, layout: Layout, wanted: Tensor | None) -> bool:
        return self.narrows and wanted is not None and is_narrow(layout, wanted)

    def _name_inputs(self, embedded: Tensor, layout: Layout, segments: Tensor | None) -> dict[str, Any]:
        """Return what the trunk's forward takes, by its names."""
        inputs: dict[str, Any] = {"inputs_embeds": embedded, "attention_mask": layout.real.long()}
        if "use_cache" in self._takes:  # held for nothing, and blocks that run again would append to it again
            inputs["use_cache"] = False
        if "position_ids" in self._takes:
            inputs["position_ids"] = layout.positions + self.anatomy.position_offset
        if segments is not None and "token_type_ids" in self._takes:
            front = embedded.shape[1] - segments.shape[1]
            inputs["token_type_ids"] = nn.functional.pad(segments, (front, 0)) if front else segments
        return inputs

    def _run_image(self, embedded: Tensor) -> Tensor:
        """Run a trunk of images: maps from their pixels, rows in place of what its embeddings would make."""
        if self.anatomy.form == "maps":
            last = cast(Any, self.trunk)(pixel_values=embedded).last_hidden_state
            return last if last.ndim == 3 else last.flatten(2).transpose(1, 2)
        whole = self.anatomy.pooler if self.anatomy.pooler_reads == "rows" else None
        with standing_in(self._embeddings, lambda *_, **__: embedded):
            if whole is None:
                return self._tower(pixel_values=embedded.new_empty(0)).last_hidden_state
            with standing_in(self.trunk.get_submodule(whole), lambda *_: None):  # `pool` asks it, not this pass
                return self._tower(pixel_values=embedded.new_empty(0)).last_hidden_state

    def _run_tower(self, embedded: Tensor, layout: Layout) -> Tensor:
        """Run a trunk that takes token ids alone: its embeddings are given rows where it looks ids up."""
        own, mask = self._embeddings.forward, layout.real.long()

        def embed(*, position_ids: Tensor, **_: Tensor) -> Tensor:
            return own(inputs_embeds=embedded, position_ids=position_ids)

        with standing_in(self._embeddings, embed):
            places = layout.positions + self.anatomy.position_offset
            return self._tower(
                input_ids=torch.zeros_like(mask), attention_mask=mask, position_ids=places
            ).last_hidden_state

    def pool(self, hidden: Tensor, layout: Layout, pooling: str = "default") -> Tensor:
        """Turn hidden rows into one row a sequence by the rows the layout lets the head read.

        `default` is the family's way, [B, feature_width]: its own row or the mean, through the trunk's pooler and into
        the space it shares with another tower, where there are such; any other way gives [B, H].
        """
        if pooling not in POOLINGS:
            allowed = ", ".join(POOLINGS)
            raise ModelError("pooling", value=pooling, allowed=allowed, remedy=did_you_mean(pooling, POOLINGS))
        if pooling == "default":
            return pool_own(self.trunk, self.anatomy, hidden, layout)
        if pooling != "mean" and self.anatomy.form == "maps":
            remedy = "use `pooling: mean` or leave it out"
            thing = f"{self.anatomy.family}: no place of a map stands for the image"
            raise ModelError(thing, value=pooling, remedy=remedy)
        return pick(hidden, layout, pooling)

    def looks_at(self, layout: Layout, pooling: str = "default") -> Tensor:
        """Return the rows that `pool` reads, [B, W] bool."""
        return find_read(self.anatomy, layout, pooling)

    def feature_width(self, pooling: str = "default") -> int:
        """Return the width of what `pool` returns."""
        sizes = self.dimensions
        own = None if sizes is None or pooling != "default" else sizes.features
        return self.hidden if own is None else own

    def unreached(self, pooling: str = "default") -> tuple[str, ...]:
        """Names of the trunk's tensors that a head with this pooling does not reach."""
        above = (self.anatomy.pooler, self.anatomy.shared_space) if pooling != "default" else ()
        skipped = tuple(f"{path}." for path in above if path is not None)
        names = [name for name, _ in self.trunk.named_parameters()]
        return tuple(name for name in names if name in self.anatomy.unread or name.startswith(skipped))

    @cached_property
    def _block_paths(self) -> tuple[str, ...]:
        return list_blocks(self.trunk, self.anatomy.blocks)

    @property
    def _embeddings(self) -> nn.Module:
        """The module that makes rows of an image, or of texts where the trunk takes ids alone."""
        return self.trunk.get_submodule(self.anatomy.embeddings[0])

    @property
    def _tower(self) -> Any:
        """The module in whose forward the embeddings stand: the trunk, or the tower inside it."""
        return self.trunk.get_submodule(self.anatomy.embeddings[0].rpartition(".")[0])

    @property
    def _tokens(self) -> nn.Embedding:
        return cast(nn.Embedding, self.trunk.get_submodule(self.anatomy.tokens))

    @cached_property
    def _takes(self) -> frozenset[str]:
        return _takes(self.trunk)


def _takes(module: nn.Module) -> frozenset[str]:
    return frozenset(inspect.signature(module.forward).parameters)


def _not_read(anatomy: Anatomy, given: str) -> ModelError:
    reads = f"the family '{anatomy.family}' reads {anatomy.reads}s, and the task gives {given}"
    return ModelError(reads, remedy=f"choose a backbone that reads {given}, or a task that gives what this one reads")
