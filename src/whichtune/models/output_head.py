"""From hidden rows to a score for every token: the token table again, or a matrix of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class OutputHead(nn.Module):
    """[..., H] -> [..., vocabulary]; frozen, and no part of the trunk."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor | None = None, bias: Tensor | None = None, softcap: float | None = None) -> None:
        """`weight` [vocabulary, H] is None where the head is the token table, whatever that becomes in training.

        `softcap` bounds the scores (Gemma 2): softcap * tanh(score / softcap).
        """
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.softcap = softcap
        self.project: Callable[[Tensor, Tensor, Tensor | None], Tensor] = functional.linear

    @property
    def tied(self) -> bool:
        """Whether the head is the token table."""
        return self.weight is None

    @property
    def size(self) -> int:
        """Elements that stand beside the trunk; none where the head is the token table."""
        return sum(one.numel() for one in self.buffers())

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """Score every token for each hidden row; `table` is the token table."""
        if self.weight is not None and self.weight.device != hidden.device:
            self.to(hidden.device)
        weight = table if self.weight is None else self.weight
        scores = self.project(hidden, weight.to(hidden.dtype), self.bias)
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


def table_of(trunk: nn.Module, path: str) -> Tensor:
    """Return the token table, [vocabulary, width]."""
    return cast(nn.Embedding, trunk.get_submodule(path)).weight
