"""Hidden rows behind the first blocks of a trunk, kept for each text, and the pass that begins there.

No code per family: the first blocks are stood in for, and the family's own forward makes masks and rotary tables as
ever. Blocks return their rows alone in some families and in a tuple in others; what stands in returns what they do.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whichtune.models.layout import Layout
from whichtune.models.standing_in import standing_in


@dataclass(frozen=True)
class Prefix:
    """What the first blocks made of a batch."""

    blocks: int
    """How many blocks it stands for."""
    rows: Tensor
    """[B, W, H]; zeros on padding."""
    beside: int | None
    """How many empty places stand behind the rows in what a block returns; None where it returns the rows alone."""

    def to(self, device: torch.device) -> Prefix:
        """Move the rows to a device."""
        return replace(self, rows=self.rows.to(device))

    def pack(self, layout: Layout) -> Prefix:
        """Leave the padding out: [1, T, H]."""
        return replace(self, rows=self.rows[layout.real][None])


@dataclass(frozen=True)
class PrefixTable:
    """What the first blocks made of every token of many texts."""

    blocks: int
    rows: np.ndarray
    """[tokens, H], memory-mapped."""
    starts: np.ndarray
    """[texts] int64: where the rows of each text begin."""
    beside: int | None
    """As of `Prefix`."""
    kind: torch.dtype
    """Type of the rows as blocks pass them on; half precision is kept as float32, which holds it exactly."""

    def take(self, texts: np.ndarray) -> PrefixTable:
        """Return the table for some texts, in the order given."""
        return replace(self, starts=self.starts[texts])

    def read(self, texts: np.ndarray, layout: Layout) -> Prefix:
        """Read the rows of some texts into their places."""
        lengths = layout.lengths.numpy()
        ends = lengths.cumsum()
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[texts] - (ends - lengths), lengths)
        real = torch.from_numpy(np.ascontiguousarray(self.rows[places]))
        rows = torch.zeros(*layout.real.shape, real.shape[1], dtype=self.kind)
        rows[layout.real] = real.to(self.kind)
        return Prefix(self.blocks, rows, self.beside)


class Reached(Exception):  # noqa: N818 - no error: the pass has gone as far as it should
    """Ends a pass behind the last block that is wanted."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@contextmanager
def stopping_behind(block: nn.Module) -> Generator[list[Any]]:
    """End a pass inside once a block has given its output, which is then the only entry of the list."""
    found: list[Any] = []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        raise Reached(output)

    handle = block.register_forward_hook(stop)
    try:
        yield found
    except Reached as reached:
        found.append(reached.output)
    finally:
        handle.remove()


@contextmanager
def replaying(blocks: Iterable[nn.Module], prefix: Prefix) -> Generator[None]:
    """Let the first blocks of a trunk return what they are known to make, without computing it."""

    def wrap(rows: Tensor) -> Any:
        return rows if prefix.beside is None else (rows, *[None] * prefix.beside)

    with ExitStack() as stack:
        first, *others = list(blocks)[: prefix.blocks]
        stack.enter_context(standing_in(first, lambda *_, **__: wrap(prefix.rows)))
        for block in others:
            stack.enter_context(standing_in(block, lambda hidden, *_, **__: wrap(hidden)))
        yield
