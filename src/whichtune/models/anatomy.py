"""Where the parts of a model family are, and how large they are by its configuration alone.

Methods speak only these words (`query`, `mlp-in`, `pooler`, ...), never a class name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from whichtune.errors import ModelError, did_you_mean
from whichtune.models.head_forms import HeadForm, count_head

Word = Literal["query", "key", "value", "output", "mlp-in", "mlp-out", "mlp-gate"]
WORDS: tuple[Word, ...] = ("query", "key", "value", "output", "mlp-in", "mlp-out")
"""What every family has; a gated MLP has `mlp-gate` as well, which reads what `mlp-in` reads."""
Pooling = Literal["first", "mean", "last"]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Projection:
    """One linear map of a block: a module, or some output rows of a fused one."""

    path: str
    """Module path relative to its block."""
    reads: str
    """Name of the input it reads (`attention`, `context`, `mlp`, `mlp-inner`); one name is one input."""
    rows: slice | None = None
    """Output rows of the module that belong to this projection; None when all do."""
    transposed: bool = False
    """Whether the weight is stored [in, out] instead of [out, in]."""


@dataclass(frozen=True)
class Part:
    """Elements of one part of a trunk."""

    parameters: int = 0
    """All of them."""
    biases: int = 0
    """Those in tensors named `bias`, norms included."""
    inert: int = 0
    """Those whose true gradient is zero."""

    def __add__(self, other: Part) -> Part:
        return Part(self.parameters + other.parameters, self.biases + other.biases, self.inert + other.inert)

    def times(self, count: int) -> Part:
        """Return so many of it."""
        return Part(count * self.parameters, count * self.biases, count * self.inert)


@dataclass(frozen=True)
class Extent:
    """Size of one projection."""

    inputs: int
    outputs: int
    bias: bool = True


@dataclass(frozen=True)
class Dimensions:
    """Sizes as integer arithmetic on configuration fields: nothing is loaded or built."""

    hidden: int
    """Width of the hidden rows."""
    blocks: int
    """Number of distinct blocks."""
    embeddings: Part
    """Everything before the blocks."""
    block: Part
    """One block."""
    projections: Mapping[Word, Extent]
    """Each projection of one block."""
    first_block: Part | None = None
    """The first block, where it is not like the others."""
    shared: Part = Part()
    """Tables beside the blocks, and what stands between two of them."""
    final_norm: Part = Part()
    """The norm after the last block."""
    pooler: Part = Part()
    """The trunk's pooler."""
    head_form: HeadForm = "linear"
    """Form of the head."""

    @property
    def trunk(self) -> Part:
        """All parts of the trunk together."""
        return self.embeddings + self.last_blocks(self.blocks) + self.shared + self.final_norm + self.pooler

    def last_blocks(self, count: int) -> Part:
        """The last blocks together; as many as there are, where more are asked for."""
        if count < self.blocks or self.first_block is None:
            return self.block.times(min(count, self.blocks))
        return self.first_block + self.block.times(self.blocks - 1)

    def head(self, outputs: int) -> int:
        """Parameters of a head with so many outputs."""
        return count_head(self.head_form, self.hidden, outputs)


@dataclass(frozen=True)
class Anatomy:
    """Where everything is in a trunk; paths are module paths from the trunk unless stated otherwise."""

    family: str
    """Model type as `transformers` names it."""
    tokens: str
    """The token table."""
    embeddings: tuple[str, ...]
    """The modules before the blocks, the token table among or inside them."""
    blocks: str
    """The list of distinct blocks; each has tensors of its own."""
    projections: Mapping[Word, Projection]
    """Word to projection; each word of `WORDS` stands here, in that order, and `mlp-gate` where the MLP is gated."""
    local: bool = False
    """Whether in some blocks a row sees only those near it."""
    runs: int = 1
    """How often each block runs before the next one does; more than once where layers share it (ALBERT)."""
    final_norm: str | None = None
    """The norm after the last block, where there is one."""
    pooler: str | None = None
    """The pooler that belongs to the trunk and maps the row it is given to the head's input."""
    pooler_activation: str | None = None
    """What follows the pooler, where that is a bare linear map of one row (ALBERT)."""
    head: HeadForm = "linear"
    """Form of the family's own classification head (`head_forms.py`); all of it is head, nothing of it is trunk."""
    inert: tuple[str, ...] = ()
    """Tensors of a block, by name relative to it, whose true gradient is zero."""
    inert_shared: tuple[str, ...] = ()
    """Tensors of the `shared` modules, by full name, whose true gradient is zero."""
    unread: tuple[str, ...] = ()
    """Tensors of the trunk that no head reaches (a mask token, say)."""
    shared: tuple[str, ...] = ()
    """Modules outside the blocks that blocks read or that stand between two of them: a table of relative positions,
    a convolution behind the first block."""
    position_offset: int = 0
    """What the family adds to the place of a row to find its position row."""
    positions: int | None = None
    """Rows a sequence may have, or None where the family sets no limit."""
    segments: bool = False
    """Whether rows of a first and a second text have embeddings of their own."""
    pooling: Pooling = "first"
    """Which row the family's own head reads, or the mean of all."""
    measure: Callable[[Config], Dimensions] | None = field(default=None, compare=False)
    """Sizes from a configuration, or None where they are not known."""
    unmeasured: str | None = None
    """Why `measure` is None."""

    def find(self, word: str) -> Projection:
        """Return the projection of a word, or raise a `ModelError` with the nearest words."""
        for known, projection in self.projections.items():
            if known == word:
                return projection
        allowed = ", ".join(self.projections)
        raise ModelError("projection", value=word, allowed=allowed, remedy=did_you_mean(word, self.projections))

    def dimensions(self, config: Config) -> Dimensions | None:
        """Return the sizes by the configuration, or None where `unmeasured` says why not."""
        return None if self.measure is None else self.measure(config)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    """Parameters of one linear map."""
    return inputs * outputs + (outputs if bias else 0)


def read_size(config: Config, name: str) -> int:
    """Return a configuration field that is a number of things."""
    return int(read_field(config, name))


def read_field(config: Config, name: str) -> Any:
    """Return a configuration field, or raise a `ModelError` that names it."""
    if name not in config:
        near = did_you_mean(name, config)
        raise ModelError(f"the configuration has no field `{name}`", remedy=near or "give the whole configuration")
    return config[name]
