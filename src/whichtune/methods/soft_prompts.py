"""Soft prompts: trained rows in front of every text; trunk frozen, head trained.

prompt tuning   the rows themselves are trained (Lester et al. 2021)
P-tuning        a small encoder makes them from trained rows (Liu et al. 2021, "GPT Understands, Too")
deep prompts    every block has trained keys and values of its own (Li & Liang 2021; Liu et al. 2022, P-tuning v2)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError
from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.layers.virtual import (
    KeyValueRows,
    LstmEncoder,
    VirtualRows,
    announce,
    count_lstm,
    count_mlp,
    make_mlp,
    put_in_front,
)
from whichtune.methods.contracts import Attachment, Inputs, Openings, Theory
from whichtune.methods.freezing import open_only
from whichtune.methods.targets import Target, resolve_targets, weight_of, widths
from whichtune.methods.whole_parts import no_formula, size_of
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.count import count_parameters
from whichtune.models.layout import Layout, layout_of
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec, SoftPromptBase

FOLDED = "virtual rows stand in front of the text: there is no weight of the trunk to merge them into"
UNUSED = re.compile(r"\[unused\d+\]|<extra_id_\d+>")
"""Tokens that stand for nothing: their rows of the table were never trained."""
OUT_OF_SIGHT = "deep prompts need rows that all others see, but in some blocks of the family '{}' a row sees near ones"
NOT_DEEP = "deep prompts need a block of its own for each layer, but the layers of the family '{}' share theirs"


class PromptTuning:
    """Train rows of the token table's kind, and the head."""

    def supports(self, spec: PromptTuningSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Any trunk that reads embedded rows can have some in front."""
        return None

    def needs(self, spec: PromptTuningSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: PromptTuningSpec, key: StepKey) -> Attachment:
        """Draw the rows as the spec says and put them in front."""
        virtual = VirtualRows(choose_rows(backbone, spec, key)).to(backbone.device)
        sizes = backbone.dimensions
        rows = spec.virtual_tokens * backbone.embedding_width
        theory = Theory(None, no_formula(backbone)) if sizes is None else Theory(rows + size_of(head))
        return attach_rows((backbone, head), virtual, in_front(virtual, spec), spec, theory, key)


class PTuning:
    """Train a prompt encoder and the rows it reads, in front of the text or as keys and values of every block."""

    def supports(self, spec: PTuningSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Deep prompts need distinct blocks, in which every row sees the first ones."""
        if spec.deep and anatomy.runs > 1:
            return NOT_DEEP.format(anatomy.family)
        return OUT_OF_SIGHT.format(anatomy.family) if spec.deep and anatomy.local else None

    def needs(self, spec: PTuningSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: PTuningSpec, key: StepKey) -> Attachment:
        """Build the encoder, and hook the projections where prompts are deep."""
        targets = resolve_targets(backbone, ["key", "value"]) if spec.deep else []
        parts = [widths(weight_of(backbone, target).shape, target)[1] for target in targets]
        outputs = sum(parts) or backbone.embedding_width
        virtual = encode_rows(backbone, spec, (outputs, targets), key).to(backbone.device)
        theory = count_p_tuning(backbone, head, spec)
        if not spec.deep:
            return attach_rows((backbone, head), virtual, in_front(virtual, spec), spec, theory, key)
        hooks = [KeyValueRows(target.out) for target in targets]
        undo = set_hooks(backbone, targets, hooks)
        inputs = partial(_put_deep, virtual, hooks, parts)
        attachment = attach_rows((backbone, head), virtual, inputs, spec, theory, key)
        restore = attachment.detach

        def detach() -> None:
            undo()
            restore()

        attachment.detach = detach
        attachment.matched = tuple(dict.fromkeys(target.path for target in targets))
        return attachment


def attach_rows(
    built: tuple[Backbone, Head],
    virtual: VirtualRows,
    inputs: Inputs,
    spec: SoftPromptBase,
    theory: Theory,
    key: StepKey,
) -> Attachment:
    """Freeze the trunk, open rows and head."""
    backbone, head = built
    openings = Openings()
    openings.open("added", dict(virtual.named_parameters()))
    openings.open("head", dict(head.named_parameters()))
    return Attachment(
        trained=openings.trained,
        inert=openings.inert,
        saved=openings.saved,
        active=(virtual, head),
        theory=theory,
        detach=open_only(backbone, head, openings),
        pooling=spec.pooling,
        inputs=inputs,
        merge=None if virtual.encoder is None else virtual.fold,
        unmerge=None if virtual.encoder is None else virtual.unfold,
        merge_reason=FOLDED if virtual.encoder is None else "",
        key=key,
        added=count_parameters(virtual),
        rows_in_front=spec.virtual_tokens,
    )


def in_front(virtual: VirtualRows, spec: SoftPromptBase) -> Inputs:
    """Return the function that puts the rows in front of every embedded text."""
    return partial(_put_in_front, virtual, spec.read == "virtual")


def choose_rows(backbone: Backbone, spec: SoftPromptBase, key: StepKey) -> Tensor:
    """Return the rows training starts from, [count, width]: of random numbers, random tokens, or a phrase's tokens."""
    table = table_of(backbone)
    generator = torch.Generator().manual_seed(key.streams.derive("initialisation", "virtual-rows"))
    if spec.initialise == "random":
        rows = torch.empty(spec.virtual_tokens, backbone.embedding_width).normal_(0, 1, generator=generator)
        return rows.to(table.device) * spread_of(table, spec)
    return look_up(backbone, choose_tokens(backbone, spec, generator)).float().clone()


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


def spread_of(table: Tensor, spec: SoftPromptBase) -> Tensor | float:
    """Return the spread of random rows: the token table's own, or 1 where an encoder reads them."""
    return 1.0 if isinstance(spec, PTuningSpec) and spec.encoder != "none" else table.detach().float().std()


def encode_rows(backbone: Backbone, spec: PTuningSpec, into: tuple[int, list[Target]], key: StepKey) -> VirtualRows:
    """Make the rows P-tuning trains and the encoder that reads them; its weights are drawn from the trial's streams.

    `into` is the width of what comes out, and the keys and values it is for where prompts are deep.
    """
    outputs, targets = into
    if spec.encoder == "none":
        return VirtualRows(observe_keys(backbone, spec, targets, key))
    width = backbone.embedding_width
    inner = spec.encoder_width or width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key.streams.derive("initialisation", "prompt-encoder"))
        if spec.encoder == "mlp":
            encoder: nn.Module = make_mlp(width, inner, outputs)
        else:
            encoder = LstmEncoder(width, inner, outputs, spec.encoder_layers, spec.encoder_dropout)
    return VirtualRows(choose_rows(backbone, spec, key), encoder)


def observe_keys(backbone: Backbone, spec: PTuningSpec, targets: list[Target], key: StepKey) -> Tensor:
    """Return keys and values to start deep prompts from, [count, all widths in the targets' order].

    They are what the frozen trunk makes of real tokens, which Li & Liang (2021, section 7.4) found to start best;
    random ones have the same spread, projection by projection.
    """
    generator = torch.Generator().manual_seed(key.streams.derive("initialisation", "virtual-rows"))
    tokens = choose_tokens(backbone, spec, generator).to(backbone.device)
    seen: dict[int, Tensor] = {}

    def keep(place: int, where: slice | None) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            if place not in seen and tuple(output.shape[:2]) == (1, len(tokens)):
                seen[place] = output[0] if where is None else output[0][:, where]

        return hook

    handles = [
        backbone.module(target.path).register_forward_hook(keep(place, target.out))
        for place, target in enumerate(targets)
    ]
    try:
        with torch.no_grad():
            backbone.run(look_up(backbone, tokens)[None], layout_of(torch.tensor([len(tokens)])).to(backbone.device))
    finally:
        for handle in handles:
            handle.remove()
    rows = [seen[place].float() for place in range(len(targets))]
    if spec.initialise == "random":
        drawn = [torch.empty(one.shape).normal_(0, 1, generator=generator).to(one.device) for one in rows]
        rows = [one * row.std() for one, row in zip(drawn, rows, strict=True)]
    return torch.cat(rows, dim=1).clone()


def set_hooks(backbone: Backbone, targets: list[Target], hooks: list[KeyValueRows]) -> Callable[[], None]:
    """Hook the projections, and tell each hook when its block begins; return what takes all of it off."""
    pairs = list(zip(targets, hooks, strict=True))
    undo = [backbone.module(target.path).register_forward_hook(hook).remove for target, hook in pairs]
    for index, block in enumerate(backbone.blocks):
        undo.append(announce(block, [hook for target, hook in pairs if target.block == index]))

    def take_off() -> None:
        for one in undo:
            one()

    return take_off


def count_p_tuning(backbone: Backbone, head: Head, spec: PTuningSpec) -> Theory:
    """Count rows, encoder and head from the configuration's sizes."""
    sizes = backbone.dimensions
    if sizes is None:
        return Theory(None, no_formula(backbone))
    width, count = backbone.embedding_width, spec.virtual_tokens
    deep = sizes.blocks * sum(sizes.projections[word].outputs for word in ("key", "value"))
    outputs = deep if spec.deep else width
    if spec.encoder == "none":
        return Theory(count * outputs + size_of(head))
    inner = spec.encoder_width or width
    mlp = spec.encoder == "mlp"
    encoder = count_mlp(width, inner, outputs) if mlp else count_lstm(width, inner, outputs, spec.encoder_layers)
    return Theory(count * width + encoder + size_of(head))


def _put_in_front(virtual: VirtualRows, read: bool, embedded: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    return put_in_front(virtual(), embedded, layout, read=read)


def _put_deep(
    virtual: VirtualRows, hooks: list[KeyValueRows], widths: list[int], embedded: Tensor, layout: Layout
) -> tuple[Tensor, Layout]:
    """Put empty rows in front, whose keys and values every block takes from its hooks; no one reads them else."""
    rows = virtual()
    for hook, part in zip(hooks, rows.split(widths, dim=1), strict=True):
        hook.rows, hook.shape = part, (len(embedded), len(rows) + embedded.shape[1])
    return put_in_front(embedded.new_zeros(len(rows), embedded.shape[2]), embedded, layout)
