"""How many parameters a method has on a backbone, from the configuration alone: by theory and by measurement.

Theory is integer arithmetic on configuration fields. Measurement counts the tensors of a trunk without weights, after
the method was attached to it by the very code that attaches it before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from whichtune.engine.assembly import Assembly
from whichtune.engine.build import build_assembly
from whichtune.engine.trial import count_written
from whichtune.errors import InputError, UnsupportedError
from whichtune.layers.heads import ClassHead, HeadRequest
from whichtune.methods import TUNERS
from whichtune.models.backbone import Backbone
from whichtune.models.blank import build_blank, find_config
from whichtune.models.count import count_elements, count_logical, count_parameters
from whichtune.models.language import count_output_head
from whichtune.spec.methods import LoraSpec, MethodSpec
from whichtune.spec.seeds import Streams

KINDS: tuple[str, ...] = (
    "embeddings",
    "query",
    "key",
    "value",
    "output",
    "mlp-in",
    "mlp-out",
    "mlp-gate",
    "norms",
    "others",
    "pooler",
    "head",
)
"""Kinds of modules in the order in which they are shown; what a method adds comes last."""
ADDED = "added"
MOST_RANDOM = 1_000_000_000
"""Elements of the largest trunk that gets random values where a method cannot do without."""
RANDOM = "counted on random weights: this method needs values to be attached"
KEPT_TWICE = ("linear", "dense-tanh")
"""Forms of heads that Hugging Face PEFT wraps whole; of others it wraps the last map alone, or trains less."""


class Counted(BaseModel):
    """Base of what `count` says; plain values, ready for JSON."""

    model_config = ConfigDict(frozen=True)


class Sides(Counted):
    """One figure by theory and by measurement; None where it is not known."""

    theory: int | None
    measured: int | None

    @property
    def agree(self) -> bool | None:
        """Whether both are equal; None where one is missing."""
        return None if self.theory is None or self.measured is None else self.theory == self.measured


class KindCount(Counted):
    """Elements of one kind of module."""

    kind: str
    total: int
    trainable: int


class MethodCount(Counted):
    """The parameters of one method on one backbone."""

    name: str
    kind: str
    settings: dict[str, Any]
    reason: str | None = None
    """Why there are no figures, where there are none."""
    trunk: Sides | None = None
    head: Sides | None = None
    added: Sides | None = None
    """What stands beside trunk and head."""
    total: Sides | None = None
    trainable: Sides | None = None
    """What the method opens, head included."""
    trainable_share: float | None = None
    """Share of the total, 0..1, as measured."""
    inert: int = 0
    """Part of the trainable ones held still: no gradient reaches them, or it is zero."""
    kinds: list[KindCount] = []
    modules: int = 0
    """Modules that the method's targets matched."""
    notes: list[str] = []


class Count(Counted):
    """What `count` found for one model."""

    model: str
    origin: str
    family: str
    blocks: int
    hidden: int
    outputs: int
    methods: list[MethodCount]


def count_methods(model: str, methods: Mapping[str, MethodSpec], outputs: int, kept: int | None = None) -> Count:
    """Count methods on the backbone that a word stands for, with a head of so many outputs."""
    config, origin = find_config(model)
    blank = build_blank(config, origin, kept)
    counted: list[MethodCount] = []
    for name, method in methods.items():
        try:
            one = count_method(blank, name, method, outputs)
        except NotAttached as failure:
            blank = build_blank(config, origin, kept)
            small = count_parameters(blank.trunk) <= MOST_RANDOM
            weighted = build_blank(config, origin, kept, "cpu") if small else None
            one = _count_weighted(weighted, (name, method, outputs), failure, alone=len(methods) == 1)
        counted.append(one)
    return Count(
        model=model,
        origin=origin,
        family=blank.anatomy.family,
        blocks=len(blank.blocks),
        hidden=blank.hidden,
        outputs=outputs,
        methods=counted,
    )


class NotAttached(Exception):  # noqa: N818 - no fault yet: the method may only need values, which a blank has not
    """A method could not be attached; the cause says why."""

    @property
    def cause(self) -> BaseException:
        """What attaching raised."""
        return self.__cause__ or self


def count_method(backbone: Backbone, name: str, method: MethodSpec, outputs: int) -> MethodCount:
    """Attach a method to a backbone, count, and take it off again; raises NotAttached where that fails."""
    if type(method) not in TUNERS:
        return _refuse(name, method, "it trains nothing and has no parameters")
    owners = sort_tensors(backbone)
    try:
        assembly = build_assembly(backbone, method, HeadRequest(outputs), 0.0, Streams(0))
    except UnsupportedError as error:
        return _refuse(name, method, str(error))
    except Exception as error:
        raise NotAttached(name) from error
    try:
        return _describe(name, method).model_copy(update=_figures(assembly, method, outputs, owners))
    finally:
        assembly.attachment.detach()


def _count_weighted(
    weighted: Backbone | None, asked: tuple[str, MethodSpec, int], failure: NotAttached, *, alone: bool
) -> MethodCount:
    """Count on random weights what failed without any; where that fails too, tell why.

    What is wrong with the input of the one method that is asked for is raised. Without random weights that is known
    only of our own checks, not of what PEFT refuses.
    """
    name, method, _ = asked
    what = "cannot be counted without weights"
    if weighted is not None:
        try:
            again = count_method(weighted, *asked)
        except NotAttached as second:
            what, failure = "cannot be attached", second
        else:
            return again.model_copy(update={"notes": [*again.notes, RANDOM]}) if again.reason is None else again
    cause = failure.cause
    if alone and isinstance(cause, InputError) and (weighted is not None or cause.__cause__ is None):
        raise cause
    return _refuse(name, method, f"{what} ({type(cause).__name__}: {' '.join(str(cause).split())[:200]})")


def _describe(name: str, method: MethodSpec) -> MethodCount:
    return MethodCount(name=name, kind=method.kind, settings=method.model_dump(mode="json"))


def _refuse(name: str, method: MethodSpec, reason: str) -> MethodCount:
    return _describe(name, method).model_copy(update={"reason": reason})


def _figures(
    assembly: Assembly, method: MethodSpec, outputs: int, owners: Mapping[int, Mapping[str, int]]
) -> dict[str, Any]:
    attachment, backbone = assembly.attachment, assembly.backbone
    sizes = backbone.dimensions
    opened = {**attachment.trained, **attachment.inert}
    head = count_parameters(assembly.head) + count_written(assembly)
    trunk = count_elements(tensor for tensor in backbone.trunk.parameters() if id(tensor) in owners)
    known_trunk = None if sizes is None else sizes.trunk.parameters
    known_head = None if sizes is None else sizes.head(outputs) if outputs else count_output_head(backbone.config)
    known_added = _added_by_theory(assembly, known_head if outputs else 0)
    parts = (known_trunk, known_head, known_added)
    total = trunk + head + attachment.added
    trainable = count_elements(opened.values())
    return {
        "trunk": Sides(theory=known_trunk, measured=trunk),
        "head": Sides(theory=known_head, measured=head),
        "added": Sides(theory=known_added, measured=attachment.added),
        "total": Sides(theory=None if None in parts else sum(part or 0 for part in parts), measured=total),
        "trainable": Sides(theory=attachment.theory.trainable, measured=trainable),
        "trainable_share": trainable / total,
        "inert": count_elements(attachment.inert.values()),
        "kinds": list(tabulate_kinds(assembly, owners)),
        "modules": len(attachment.matched),
        "notes": list(_notes(assembly, method, (trunk, head))),
    }


def _added_by_theory(assembly: Assembly, head: int | None) -> int | None:
    """Return what the method's own theory leaves beside the head, where it opens nothing of the trunk."""
    attachment = assembly.attachment
    if attachment.added == 0:
        return 0
    in_trunk = any(name.startswith("trunk.") for name in {**attachment.trained, **attachment.inert})
    if in_trunk or head is None or attachment.theory.trainable is None:
        return None
    return attachment.theory.trainable - head


def _notes(assembly: Assembly, method: MethodSpec, parts: tuple[int, int]) -> Iterable[str]:
    attachment, (trunk, head) = assembly.attachment, parts
    yield from attachment.notes
    if attachment.theory.trainable is None and attachment.theory.reason:
        yield f"no theory: {attachment.theory.reason}"
    twice = isinstance(assembly.head, ClassHead) and assembly.head.form in KEPT_TWICE
    if isinstance(method, LoraSpec) and twice:
        printed = trunk + 2 * head + attachment.added
        yield (
            "Hugging Face PEFT prints another total, since it keeps the head twice: "
            f"trunk + 2 x head + added = {printed:,}"
        )
    if attachment.inert:
        still = count_elements(attachment.inert.values())
        yield f"{still:,} of the trainable ones are held still: no gradient reaches them, or their true one is zero"


def sort_tensors(backbone: Backbone) -> dict[int, dict[str, int]]:
    """Say of each tensor of a bare trunk, by its `id`, how many of its elements belong to which kind of module.

    A fused projection is shared out by its output rows. A tensor with two names counts once.
    """
    anatomy, modules = backbone.anatomy, dict(backbone.trunk.named_modules())
    fronts = [f"{backbone.block_path(index)}." for index in range(len(backbone.blocks))]
    below = tuple(f"{path}." for path in (*anatomy.embeddings, anatomy.tokens))
    above = tuple(f"{path}." for path in (anatomy.pooler, anatomy.shared_space) if path is not None)
    found: dict[int, dict[str, int]] = {}
    for name, tensor in backbone.trunk.named_parameters():
        module, _, _ = name.rpartition(".")
        front = next((one for one in fronts if name.startswith(one)), None)
        if front is not None:
            found[id(tensor)] = _sort_in_block(backbone, module.removeprefix(front), tensor, modules[module])
        elif name.startswith(above):
            found[id(tensor)] = {"pooler": count_logical(tensor)}
        elif name.startswith(below):
            found[id(tensor)] = {"embeddings": count_logical(tensor)}
        else:
            found[id(tensor)] = {_other(modules[module]): count_logical(tensor)}
    return found


def _sort_in_block(backbone: Backbone, path: str, tensor: Tensor, module: Any) -> dict[str, int]:
    words = {word: one for word, one in backbone.anatomy.projections.items() if one.path == path}
    if not words:
        return {_other(module): count_logical(tensor)}
    whole = [word for word, one in words.items() if one.rows is None]
    if whole:
        return {whole[0]: count_logical(tensor)}
    first = next(iter(words.values()))
    outputs = tensor.shape[-1] if first.transposed else tensor.shape[0]
    rows = {word: len(range(*one.rows.indices(outputs))) for word, one in words.items() if one.rows is not None}
    shares = {word: count_logical(tensor) * count // outputs for word, count in rows.items()}
    left = count_logical(tensor) - sum(shares.values())
    return shares | ({"others": left} if left else {})


def _other(module: Any) -> str:
    return "norms" if "norm" in type(module).__name__.lower() else "others"


def tabulate_kinds(assembly: Assembly, owners: Mapping[int, Mapping[str, int]]) -> Iterable[KindCount]:
    """Yield total and trainable elements of each kind of module that is there."""
    attachment = assembly.attachment
    total, opened = dict.fromkeys((*KINDS, ADDED), 0), dict.fromkeys((*KINDS, ADDED), 0)
    for shares in owners.values():
        _add(total, shares)
    total["head"] += count_parameters(assembly.head) + count_written(assembly)
    total[ADDED] += attachment.added
    heads = {id(tensor) for tensor in assembly.head.parameters()}
    unique = {id(tensor): tensor for tensor in (*attachment.trained.values(), *attachment.inert.values())}
    for tensor in unique.values():
        kind = "head" if id(tensor) in heads else ADDED
        _add(opened, owners.get(id(tensor), {kind: count_logical(tensor)}))
    for kind, count in total.items():
        if count or opened[kind]:
            yield KindCount(kind=kind, total=count, trainable=opened[kind])


def _add(sums: dict[str, int], shares: Mapping[str, int]) -> None:
    for kind, count in shares.items():
        sums[kind] += count
