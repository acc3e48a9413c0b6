"""Which modules a LoRA method adapts: anatomy words, groups of them, or module names; never by substring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.anatomy import WORDS, Anatomy
from whichtune.models.backbone import Backbone
from whichtune.models.quantizing import FourBitLinear
from whichtune.models.transposed import is_transposed

GROUPS = {
    "attention": ("query", "key", "value", "output"),
    "all-linear": ("query", "key", "value", "output", "mlp-in", "mlp-out", "mlp-gate"),
}


@dataclass(frozen=True)
class Target:
    """One projection to adapt."""

    path: str
    """Full path of its module in the trunk."""
    word: str
    """Anatomy word, or the module's own name."""
    block: int | None
    """Block it stands in; None outside of blocks."""
    reads: str
    """Name of the input it shares with others: the key of its dropout mask."""
    out: slice | None
    """Its rows of a fused projection's output; None for all."""
    transposed: bool


def resolve_targets(backbone: Backbone, asked: Sequence[str]) -> list[Target]:
    """Turn words into targets, in the trunk's order, or name what is not there with its nearest neighbours."""
    found: dict[tuple[str, str], Target] = {}
    for word in asked:
        for target in _matches(backbone, word):
            found[(target.path, target.word if target.out is not None else "")] = target
    order = {name: place for place, (name, _) in enumerate(backbone.trunk.named_modules())}
    return sorted(found.values(), key=lambda target: (order[target.path], target.out.start if target.out else 0))


def find_lacking(anatomy: Anatomy, asked: Sequence[str]) -> str | None:
    """Say which words of those asked for a family has no projection of; None where it has them, or where names of
    modules are asked for, which are looked up when attaching.
    """
    if not anatomy.projections:
        return f"its layers are convolutions: the family '{anatomy.family}' has no linear projections"
    told = {word: GROUPS.get(word, (word,)) for word in asked if word in GROUPS or word in WORDS}
    lacking = [word for word, words in told.items() if not any(each in anatomy.projections for each in words)]
    if not lacking:
        return None
    has = ", ".join(anatomy.projections)
    return f"`targets`: the family '{anatomy.family}' has no {', '.join(lacking)}; it has {has}"


def _matches(backbone: Backbone, word: str) -> list[Target]:
    words = GROUPS.get(word, (word,))
    known = backbone.anatomy.projections
    present = [each for each in words if each in known]
    if present:
        return [_of_block(backbone, index, each) for index in range(len(backbone.blocks)) for each in present]
    named = _by_name(backbone, word)
    if not named:
        raise _no_such_target(backbone, word)
    return named


def _of_block(backbone: Backbone, index: int, word: str) -> Target:
    path, _, projection = backbone.projection(index, word)
    return Target(path, word, index, f"{index}.{projection.reads}", projection.rows, projection.transposed)


def _by_name(backbone: Backbone, word: str) -> list[Target]:
    linears = [(name, module) for name, module in backbone.trunk.named_modules() if is_linear(module)]
    own = [(name, module) for name, module in linears if name == word or name.endswith(f".{word}")]
    return [Target(name, word, None, name, None, transposed=is_transposed(module)) for name, module in own]


def is_linear(module: nn.Module) -> bool:
    """Whether a module is one linear map, in any way of storing it."""
    return isinstance(module, nn.Linear | FourBitLinear) or is_transposed(module)


def weight_of(backbone: Backbone, target: Target) -> Tensor:
    """Return the weight of a target's module."""
    weight = backbone.module(target.path).weight
    assert isinstance(weight, Tensor)  # noqa: S101 - targets are linear layers
    return weight


def widths(shape: tuple[int, ...], target: Target) -> tuple[int, int]:
    """Return (in, out) of the part of a projection that a target adapts."""
    out, features = (shape[1], shape[0]) if target.transposed else (shape[0], shape[1])
    return features, out if target.out is None else target.out.stop - target.out.start


def _no_such_target(backbone: Backbone, word: str) -> ModelError:
    linears = {name for name, module in backbone.trunk.named_modules() if is_linear(module)}
    tails = {name.rsplit(".", 1)[-1] for name in linears}
    choice = [*backbone.anatomy.projections, *GROUPS]
    return ModelError(
        f"targets: no linear layer of this {backbone.anatomy.family} trunk",
        value=word,
        allowed=", ".join([*choice, "or a module's name"]),
        remedy=did_you_mean(word, [*choice, *sorted(tails), *sorted(linears)]),
    )
