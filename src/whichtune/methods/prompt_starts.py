"""What soft prompts start from: random rows, real words, a phrase, or what a frozen trunk makes of such."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from whichtune.errors import ModelError
from whichtune.layers.masks import StepKey
from whichtune.methods.targets import Target
from whichtune.models.backbone import Backbone
from whichtune.models.families.patches import read_side
from whichtune.models.image_batch import ImageBatch
from whichtune.models.image_encoder import ImageEncoder
from whichtune.models.layout import Layout, layout_of
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec, SoftPromptBase

UNUSED = re.compile(r"\[unused\d+\]|<extra_id_\d+>")
"""Tokens that stand for nothing: their rows of the table were never trained."""


def choose_rows(backbone: Backbone, spec: SoftPromptBase, key: StepKey) -> Tensor:
    """Return the rows training starts from, [count, width]: of random numbers, random tokens, or a phrase's tokens.

    In front of images they are random in any case: visual prompts, or what an encoder reads.
    """
    generator = _generator(key)
    width, drawn = backbone.embedding_width, _encoded(spec)
    if backbone.anatomy.reads == "image" and not drawn:
        return draw_visual(backbone, (spec.virtual_tokens,), generator)
    if drawn and (spec.initialise == "random" or backbone.anatomy.reads == "image"):
        return torch.empty(spec.virtual_tokens, width).normal_(0, 1, generator=generator)
    if spec.initialise == "random":
        table = table_of(backbone)
        rows = torch.empty(spec.virtual_tokens, width).normal_(0, 1, generator=generator)
        return rows.to(table.device) * table.detach().float().std()
    return look_up(backbone, choose_tokens(backbone, spec, generator)).float().clone()


def draw_visual(backbone: Backbone, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw visual prompts, [*shape, hidden], as Jia et al. (2022) do: from the range of a patch's projection."""
    patch = read_side(backbone.config, "patch_size")
    bound = (6 / (3 * patch**2 + backbone.hidden)) ** 0.5
    return torch.empty(*shape, backbone.hidden).uniform_(-bound, bound, generator=generator)


def choose_deep_rows(backbone: Backbone, spec: PromptTuningSpec, key: StepKey) -> Tensor:
    """Return the rows of every block that training starts from, [blocks, count, hidden].

    In front of images all are drawn as the shallow ones are. In front of texts they are what each block is given when
    the frozen trunk reads real tokens; random ones have the same spread, block by block.
    """
    generator = _generator(key)
    if backbone.anatomy.reads == "image":
        return draw_visual(backbone, (len(backbone.blocks), spec.virtual_tokens), generator)
    tokens = choose_tokens(backbone, spec, generator)
    seen: dict[int, Tensor] = {}

    def keep(place: int, block: nn.Module) -> Callable[..., None]:
        reads = next(iter(inspect.signature(block.forward).parameters))

        def hook(_: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            seen[place] = (args[0] if args else named[reads])[0]

        return hook

    hooks = [
        block.register_forward_pre_hook(keep(place, block), with_kwargs=True)
        for place, block in enumerate(backbone.blocks)
    ]
    _run_once(backbone, look_up(backbone, tokens)[None], hooks)
    return torch.stack(_spread([seen[place] for place in range(len(hooks))], spec, generator))


def observe_keys(backbone: Backbone, spec: PTuningSpec, targets: list[Target], key: StepKey) -> Tensor:
    """Return keys and values to start deep prompts from, [count, all widths in the targets' order].

    They are what the frozen trunk makes of real tokens, which Li & Liang (2021, section 7.4) found to start best;
    random ones have the same spread, projection by projection. In front of images they are random, with the spread of
    what the trunk makes of noise.
    """
    generator = _generator(key)
    image = backbone.anatomy.reads == "image"
    sample = _noise(backbone, generator) if image else look_up(backbone, choose_tokens(backbone, spec, generator))[None]
    seen: dict[int, Tensor] = {}

    def keep(place: int, where: slice | None) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            if place not in seen and tuple(output.shape[:2]) == tuple(sample.shape[:2]):
                seen[place] = output[0] if where is None else output[0][:, where]

        return hook

    hooks = [
        backbone.module(target.path).register_forward_hook(keep(place, target.out))
        for place, target in enumerate(targets)
    ]
    _run_once(backbone, sample, hooks)
    return torch.cat(_spread([seen[place] for place in range(len(targets))], spec, generator, anew=image), dim=1)


def choose_tokens(backbone: Backbone, spec: SoftPromptBase, generator: torch.Generator) -> Tensor:
    """Return token ids, [count]: the phrase's, repeated or cut, or draws of the words of the vocabulary."""
    tokenizer = backbone.encoder.tokenizer
    if spec.initialise == "phrase":
        ids = tokenizer.encode(str(spec.phrase), add_special_tokens=False).ids
        if not ids:
            raise ModelError("phrase: the tokenizer makes no token of it", value=spec.phrase)
        return torch.tensor([ids[place % len(ids)] for place in range(spec.virtual_tokens)])
    words = torch.tensor(list_words(backbone))
    order = torch.randint(len(words), (spec.virtual_tokens,), generator=generator)
    return words[order]


def list_words(backbone: Backbone) -> list[int]:
    """List the token ids that stand for text: neither special tokens nor places a tokenizer keeps free."""
    tokenizer = backbone.encoder.tokenizer
    special = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    vocabulary = tokenizer.get_vocab().items()
    words = (index for token, index in vocabulary if index not in special and not UNUSED.fullmatch(token))
    return sorted(index for index in words if index < backbone.encoder.vocabulary)


def look_up(backbone: Backbone, tokens: Tensor) -> Tensor:
    """Return the rows the trunk reads for token ids, [count, width]; some families scale those of their table."""
    return backbone.module(backbone.anatomy.tokens)(tokens.to(backbone.device)).detach()


def table_of(backbone: Backbone) -> Tensor:
    """Return the token table, [vocabulary, width]."""
    table = backbone.module(backbone.anatomy.tokens).weight
    assert isinstance(table, Tensor)  # noqa: S101 - the anatomy names a table
    return table


def _encoded(spec: SoftPromptBase) -> bool:
    """Whether an encoder reads the rows."""
    return isinstance(spec, PTuningSpec) and spec.encoder != "none"


def _generator(key: StepKey) -> torch.Generator:
    return torch.Generator().manual_seed(key.streams.derive("initialisation", "virtual-rows"))


def _noise(backbone: Backbone, generator: torch.Generator) -> Tensor:
    """Return the embedded rows of one image of noise, [1, W, E]."""
    reader = backbone.reader
    assert isinstance(reader, ImageEncoder)  # noqa: S101 - the anatomy says that it reads images
    pixels = torch.empty(1, 3, reader.side, reader.side).normal_(0, 1, generator=generator)
    layout = layout_of(torch.tensor([reader.width]))
    batch = ImageBatch(np.zeros(1, np.int64), pixels, torch.tensor([-1]), layout)
    with torch.no_grad():
        return backbone.embed(batch.to(backbone.device))


def _run_once(backbone: Backbone, embedded: Tensor, hooks: list[RemovableHandle]) -> None:
    """Run the frozen trunk on one sequence of embedded rows, and take the hooks off."""
    try:
        with torch.no_grad():
            backbone.run(embedded, _whole(embedded))
    finally:
        for hook in hooks:
            hook.remove()


def _whole(embedded: Tensor) -> Layout:
    return layout_of(torch.tensor([embedded.shape[1]])).to(embedded.device)


def _spread(
    rows: list[Tensor], spec: SoftPromptBase, generator: torch.Generator, *, anew: bool = False
) -> list[Tensor]:
    """Return the rows, or random ones of the same spread in their place; `anew`: in any case."""
    found = [one.float().clone() for one in rows]
    if spec.initialise != "random" and not anew:
        return found
    shapes = [(spec.virtual_tokens, one.shape[1]) for one in found]
    drawn = [torch.empty(shape).normal_(0, 1, generator=generator) for shape in shapes]
    return [one.to(row.device) * row.std() for one, row in zip(drawn, found, strict=True)]
