"""Virtual rows: trained rows in front of a text or an image, as they are or through a small prompt encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from whichtune.models.layout import Layout


class LstmEncoder(nn.Module):
    """A bidirectional LSTM and two linear maps over the rows (Liu et al. 2021, "GPT Understands, Too")."""

    def __init__(self, width: int, inner: int, outputs: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, inner, layers, dropout=between, bidirectional=True, batch_first=True)
        self.out = nn.Sequential(nn.Linear(2 * inner, 2 * inner), nn.ReLU(), nn.Linear(2 * inner, outputs))

    def forward(self, rows: Tensor) -> Tensor:
        """[count, width] -> [count, outputs]; each row sees all others."""
        return self.out(self.lstm(rows[None])[0][0])


def make_mlp(width: int, inner: int, outputs: int) -> nn.Sequential:
    """Three linear maps with ReLU between them, row by row: [count, width] -> [count, outputs]."""
    return nn.Sequential(
        nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU(), nn.Linear(inner, outputs)
    )


def count_mlp(width: int, inner: int, outputs: int) -> int:
    """Count the parameters of `make_mlp` from its sizes."""
    return width * inner + inner + inner * inner + inner + inner * outputs + outputs


def count_lstm(width: int, inner: int, outputs: int, layers: int) -> int:
    """Count the parameters of `LstmEncoder` from its sizes: four gates, two directions, two biases a gate."""
    reads = [width] + [2 * inner] * (layers - 1)
    gates = sum(2 * 4 * inner * (one + inner + 2) for one in reads)
    return gates + 2 * inner * 2 * inner + 2 * inner + 2 * inner * outputs + outputs


class VirtualRows(nn.Module):
    """Trained rows [count, width], through an encoder where there is one.

    `fold` keeps the encoder's result, so that predicting does not run it for every batch; `unfold` drops it.
    """

    def __init__(self, rows: Tensor, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.encoder = encoder
        self._folded: Tensor | None = None

    def forward(self) -> Tensor:
        """[count, outputs]: what stands in front of every text."""
        if self._folded is not None:
            return self._folded
        return self.rows if self.encoder is None else self.encoder(self.rows)

    def fold(self) -> None:
        """Run the encoder once and keep its rows."""
        with torch.no_grad():
            self._folded = self.forward()

    def unfold(self) -> None:
        """Run the encoder again from now on."""
        self._folded = None


def announce(block: nn.Module, hooks: Sequence[KeyValueRows]) -> Callable[[], None]:
    """Tell the hooks of a block whenever it begins; return what takes that off again.

    It stands in front of `forward` itself, since a block that is computed again in the backward pass begins once more
    without its pre-hooks being called.
    """
    inner = block.forward

    @wraps(inner)
    def forward(*args: Any, **named: Any) -> Any:
        for hook in hooks:
            hook.expect()
        return inner(*args, **named)

    def take_off() -> None:
        del block.forward

    block.forward = forward
    return take_off


class KeyValueRows:
    """Puts given rows in the place of the first rows of one projection's output.

    With virtual rows in front of every text, the attention of that block then sees them as keys (or values) of its
    own, which is prefix tuning (Li & Liang 2021) and P-tuning v2 (Liu et al. 2022) without a word about any family's
    attention.
    """

    def __init__(self, where: slice | None) -> None:
        self.where = where
        self.rows: Tensor | None = None
        """[count, width] for the running pass; None leaves the output as it is."""
        self.shape: tuple[int, int] = (0, 0)
        """(B, W) of the running pass."""
        self.expected = False

    def expect(self) -> None:
        """Change the next call on a whole batch.

        Some families run the same projection on a table of relative positions too, which is none of ours.
        """
        self.expected = True

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the projection: [B, W, out] -> [B, W, out]."""
        if self.rows is None or not self.expected or tuple(output.shape[:2]) != self.shape:
            return output
        self.expected = False
        count, given = len(self.rows), self.rows
        if not torch.is_grad_enabled():  # nothing is computed again: what follows behind the cache is none of ours
            self.rows = None
        rows = given.to(output.dtype).expand(len(output), *given.shape)
        if self.where is None:
            return torch.cat([rows, output[:, count:]], dim=1)
        parts = (output[:, :count, : self.where.start], rows, output[:, :count, self.where.stop :])
        return torch.cat([torch.cat(parts, dim=2), output[:, count:]], dim=1)


class FirstRows:
    """Puts given rows in the place of the first rows that a block is given.

    With virtual rows in front of every sequence, each block then has prompts of its own, and what the block before made
    of the last ones is dropped (Jia et al. 2022, VPT, the deep form).
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        """[count, H] for the running pass; None leaves what the block is given as it is."""
        self.shape: tuple[int, int] = (0, 0)
        """(B, W) of the running pass."""

    def put(self, hidden: Tensor) -> Tensor:
        """[B, W, H] -> [B, W, H]."""
        if self.rows is None or tuple(hidden.shape[:2]) != self.shape:
            return hidden
        given = self.rows
        if not torch.is_grad_enabled():  # nothing is computed again: what follows behind the cache is none of ours
            self.rows = None
        rows = given.to(hidden.dtype).expand(len(hidden), *given.shape)
        return torch.cat([rows, hidden[:, len(given) :]], dim=1)

    def stand_before(self, block: nn.Module) -> Callable[[], None]:
        """Change what a block is given from now on, also when it is computed again; return what ends that."""
        inner = block.forward
        reads = next(iter(inspect.signature(inner).parameters))

        @wraps(inner)
        def forward(*args: Any, **named: Any) -> Any:
            if args:
                return inner(self.put(args[0]), *args[1:], **named)
            return inner(**{**named, reads: self.put(named[reads])})

        def take_off() -> None:
            del block.forward

        block.forward = forward
        return take_off


def put_in_front(rows: Tensor, embedded: Tensor, layout: Layout, *, read: bool = False) -> tuple[Tensor, Layout]:
    """Put rows [count, width] in front of every text [B, W, width] and its layout; `read`: a head may read them."""
    front = rows.to(embedded.dtype).expand(len(embedded), *rows.shape)
    return torch.cat([front, embedded], dim=1), layout.prepend(len(rows), read=read)
