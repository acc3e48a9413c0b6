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
class BlockSize:
    """Sizes of one block of a family whose blocks differ."""

    part: Part
    projections: Mapping[Word, Extent] = field(default_factory=dict)


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
    """One block; the last, where blocks differ in size."""
    projections: Mapping[Word, Extent]
    """Each projection of one block; of the last, where blocks differ in size."""
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
    each: tuple[BlockSize, ...] = ()
    """Every block in order, where they differ in size from stage to stage."""
    features: int | None = None
    """Width of the pooled row, where it is not that of the hidden rows."""

    @property
    def trunk(self) -> Part:
        """All parts of the trunk together."""
        return self.embeddings + self.last_blocks(self.blocks) + self.shared + self.final_norm + self.pooler

    def last_blocks(self, count: int) -> Part:
        """The last blocks together; as many as there are, where more are asked for."""
        if self.each:
            return sum((one.part for one in self.each[max(0, self.blocks - count) :]), Part())
        if count < self.blocks or self.first_block is None:
            return self.block.times(min(count, self.blocks))
        return self.first_block + self.block.times(self.blocks - 1)

    def extents(self, block: int) -> Mapping[Word, Extent]:
        """Return each projection of a block, by its index."""
        return self.each[block].projections if self.each else self.projections

    def head(self, outputs: int) -> int:
        """Parameters of a head with so many outputs."""
        return count_head(self.head_form, self.features or self.hidden, outputs)


@dataclass(frozen=True)
class Anatomy:
    """Where everything is in a trunk; paths are module paths from the trunk unless stated otherwise."""

    family: str
    """Model type as `transformers` names it."""
    tokens: str
    """The token table; empty where images are read."""
    embeddings: tuple[str, ...]
    """The modules before the blocks, the token table among or inside them. Of a family of image `rows` the first one
    makes the rows."""
    blocks: str
    """The list of distinct blocks; each has tensors of its own. `*` stands for every entry of a list above it, where
    blocks stand in stages (`encoder.stages.*.layers`)."""
    projections: Mapping[Word, Projection]
    """Word to projection; each word of `WORDS` stands here, in that order, and `mlp-gate` where the MLP is gated. A
    family of convolutions has fewer of them, or none."""
    reads: Literal["text", "image"] = "text"
    """What the trunk reads."""
    form: Literal["rows", "maps"] = "rows"
    """How an image passes the trunk: as a sequence of rows that all see each other, or as maps that shrink from stage
    to stage, where nothing can be put in front."""
    local: bool = False
    """Whether in some blocks a row sees only those near it."""
    runs: int = 1
    """How often each block runs before the next one does; more than once where layers share it (ALBERT)."""
    final_norm: str | None = None
    """What stands after the last block before the hidden rows: a norm, or a convolution with its norm."""
    pooler: str | None = None
    """The pooler that belongs to the trunk and maps the row it is given to the head's input: a module of its own kind,
    or a norm or linear map of the pooled row."""
    pooler_activation: str | None = None
    """What follows the pooler, where that is a bare linear map of one row (ALBERT)."""
    pooler_reads: Literal["row", "rows", "pooled"] = "row"
    """What the pooler is given: [B, 1, H], the one row it takes first (BERT); all rows (SigLIP's attention pool); or
    [B, H], what was pooled (a norm or a linear map)."""
    shared_space: str | None = None
    """The linear map behind the pooled row into the space that both towers share (CLIP)."""
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
    filled: bool = False
    """Whether every text takes all positions, filled up with pad tokens that are read like others."""
    segments: bool = False
    """Whether rows of a first and a second text have embeddings of their own."""
    pooling: Pooling = "first"
    """Which row the family's own head reads, or the mean of all."""
    count_rows: Callable[[Config, int], int] | None = field(default=None, compare=False)
    """Hidden rows that an image of so many pixels a side becomes; None where texts are read."""
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


def image_rows(anatomy: Anatomy, config: Config, side: int) -> int:
    """Return how many hidden rows a square image of so many pixels a side becomes, or raise a `ModelError`."""
    if anatomy.count_rows is None:
        raise ModelError(f"{anatomy.family}: the family reads texts, not images", value=side)
    found = anatomy.count_rows(config, side)
    if found < 1:
        raise ModelError(f"{anatomy.family}: images of so few pixels a side leave too little to read", value=side)
    return found


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
