"""Counts of the parts that families share, as integer arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.models.anatomy import Extent, Part, Word, linear


def size_table(rows: int, width: int) -> Part:
    """A table of embeddings."""
    return Part(rows * width)


def size_norm(width: int, *, bias: bool = True) -> Part:
    """A layer norm."""
    return Part(2 * width, width) if bias else Part(width)


def size_linear(inputs: int, outputs: int, *, bias: bool = True) -> Part:
    """A linear map."""
    return Part(linear(inputs, outputs, bias=bias), outputs if bias else 0)


def size_projections(projections: Mapping[Word, Extent]) -> Part:
    """All projections of a block together."""
    sizes = (size_linear(one.inputs, one.outputs, bias=one.bias) for one in projections.values())
    return sum(sizes, Part())


def square_attention(hidden: int, inner: int) -> dict[Word, Extent]:
    """Four square maps of the attention and an MLP of two, each with a bias."""
    square = Extent(hidden, hidden)
    return {
        "query": square,
        "key": square,
        "value": square,
        "output": square,
        "mlp-in": Extent(hidden, inner),
        "mlp-out": Extent(inner, hidden),
    }


def size_post_norm_block(hidden: int, inner: int) -> Part:
    """A block as in BERT: projections, a norm behind attention and MLP each, a key bias that softmax ignores."""
    return size_projections(square_attention(hidden, inner)) + size_norm(hidden).times(2) + Part(inert=hidden)
