"""Soft prompts: trained rows in front of every text or image; trunk frozen, head trained.

prompt tuning         the rows themselves are trained (Lester et al. 2021; of images Jia et al. 2022, VPT)
deep prompt tuning    every block has trained rows of its own, in place of what the block before made of the last ones
P-tuning              a small encoder makes the rows from trained ones (Liu et al. 2021, "GPT Understands, Too")
deep P-tuning         every block has trained keys and values of its own (Li & Liang 2021; Liu et al. 2022, P-tuning v2)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.layers.virtual import (
    FirstRows,
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
from whichtune.methods.prompt_starts import choose_deep_rows, choose_rows, observe_keys
from whichtune.methods.targets import Target, resolve_targets, weight_of, widths
from whichtune.methods.whole_parts import no_formula, size_of
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.count import count_parameters
from whichtune.models.layout import Layout
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec, SoftPromptBase

FOLDED = "virtual rows stand in front of what is read: there is no weight of the trunk to merge them into"
OUT_OF_SIGHT = "deep prompts need rows that all others see, but in some blocks of the family '{}' a row sees near ones"
AS_MAPS = "an image passes a {} trunk as maps that shrink from stage to stage: nothing can stand in front of it"
FILLED = "the family '{}' fills every text up to all its positions: none is left for rows in front"
NO_PHRASE = "`initialise: phrase` starts from words, and the family '{}' reads images: leave `initialise` out"
NOT_DEEP = "deep prompts need a block of its own for each layer, but the layers of the family '{}' share theirs"


class PromptTuning:
    """Train rows of the kind the trunk reads, in front of all others or of every block's, and the head."""

    def supports(self, spec: PromptTuningSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Any trunk that reads rows can have some in front; deep ones need what deep keys and values need."""
        return why_not(spec, anatomy)

    def needs(self, spec: PromptTuningSpec) -> LoadRequest:
        """No special loading."""
        return LoadRequest()

    def attach(self, backbone: Backbone, head: Head, spec: PromptTuningSpec, key: StepKey) -> Attachment:
        """Draw the rows as the spec says, and put them in front of all others or of those of every block."""
        if spec.deep:
            return attach_deep_rows(backbone, head, spec, key)
        virtual = VirtualRows(choose_rows(backbone, spec, key)).to(backbone.device)
        theory = count_prompts(backbone, head, spec.virtual_tokens * backbone.embedding_width)
        return attach_rows((backbone, head), virtual, in_front(virtual, spec), spec, theory, key)


class PTuning:
    """Train a prompt encoder and the rows it reads, in front of the text or as keys and values of every block."""

    def supports(self, spec: PTuningSpec, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Deep prompts need distinct blocks, in which every row sees the first ones."""
        return why_not(spec, anatomy)

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
        inputs = partial(_put_deep, virtual, hooks, parts)
        attachment = attach_rows((backbone, head), virtual, inputs, spec, theory, key)
        also_undoing(attachment, set_hooks(backbone, targets, hooks))
        attachment.matched = tuple(dict.fromkeys(target.path for target in targets))
        return attachment


def why_not(spec: PromptTuningSpec | PTuningSpec, anatomy: Anatomy) -> str | None:
    """Return why soft prompts make no sense on an anatomy, or None where they do."""
    if anatomy.form == "maps":
        return AS_MAPS.format(anatomy.family)
    if anatomy.filled:
        return FILLED.format(anatomy.family)
    if anatomy.reads == "image" and spec.initialise == "phrase":
        return NO_PHRASE.format(anatomy.family)
    if spec.deep and anatomy.runs > 1:
        return NOT_DEEP.format(anatomy.family)
    return OUT_OF_SIGHT.format(anatomy.family) if spec.deep and anatomy.local else None


def attach_rows(
    built: tuple[Backbone, Head],
    virtual: VirtualRows,
    inputs: Inputs,
    spec: PromptTuningSpec | PTuningSpec,
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
        rowwise=not spec.deep,  # blocks put deep rows in front of each text
        merge=None if virtual.encoder is None else virtual.fold,
        unmerge=None if virtual.encoder is None else virtual.unfold,
        merge_reason=FOLDED if virtual.encoder is None else "",
        key=key,
        added=count_parameters(virtual),
        rows_in_front=spec.virtual_tokens,
    )


def attach_deep_rows(backbone: Backbone, head: Head, spec: PromptTuningSpec, key: StepKey) -> Attachment:
    """Give every block rows of its own, of the width that blocks pass on."""
    virtual = VirtualRows(choose_deep_rows(backbone, spec, key)).to(backbone.device)
    sizes = backbone.dimensions
    rows = 0 if sizes is None else sizes.blocks * spec.virtual_tokens * sizes.hidden
    firsts = [FirstRows() for _ in backbone.blocks]
    inputs = partial(_put_before_blocks, virtual, firsts, spec.read == "virtual")
    attachment = attach_rows((backbone, head), virtual, inputs, spec, count_prompts(backbone, head, rows), key)
    blocks = zip(firsts, backbone.blocks, strict=True)
    return also_undoing(attachment, [first.stand_before(block) for first, block in blocks])


def count_prompts(backbone: Backbone, head: Head, rows: int) -> Theory:
    """Count the elements of rows and head, where the family's sizes are known."""
    return Theory(None, no_formula(backbone)) if backbone.dimensions is None else Theory(rows + size_of(head))


def also_undoing(attachment: Attachment, undo: list[Callable[[], None]]) -> Attachment:
    """Let an attachment's `detach` take off what was put onto the trunk's modules first."""
    restore = attachment.detach

    def detach() -> None:
        for one in undo:
            one()
        restore()

    attachment.detach = detach
    return attachment


def in_front(virtual: VirtualRows, spec: SoftPromptBase) -> Inputs:
    """Return the function that puts the rows in front of every embedded text."""
    return partial(_put_in_front, virtual, spec.read == "virtual")


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


def set_hooks(backbone: Backbone, targets: list[Target], hooks: list[KeyValueRows]) -> list[Callable[[], None]]:
    """Hook the projections, and tell each hook when its block begins; return what takes that off."""
    pairs = list(zip(targets, hooks, strict=True))
    undo = [backbone.module(target.path).register_forward_hook(hook).remove for target, hook in pairs]
    for index, block in enumerate(backbone.blocks):
        undo.append(announce(block, [hook for target, hook in pairs if target.block == index]))
    return undo


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


def _put_before_blocks(
    virtual: VirtualRows, firsts: list[FirstRows], read: bool, embedded: Tensor, layout: Layout
) -> tuple[Tensor, Layout]:
    """Put empty rows in front, which every block gets its own in place of."""
    rows = virtual()
    for first, own in zip(firsts, rows, strict=True):
        first.rows, first.shape = own, (len(embedded), len(own) + embedded.shape[1])
    return put_in_front(embedded.new_zeros(rows.shape[1], embedded.shape[2]), embedded, layout, read=read)
