"""What turns pooled hidden rows into outputs; ours, built from what a task asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

HeadForm = Literal["linear", "dense-tanh"]
INITIAL_SPREAD = 0.02
"""Standard deviation of new weights, as BERT was initialised (Devlin et al. 2019)."""


@dataclass(frozen=True)
class HeadRequest:
    """What a task needs from a head."""

    outputs: int
    """Numbers a row."""


class Head(nn.Module):
    """A classifier over pooled rows: [B, hidden] -> [B, outputs].

    `linear` is dropout and one matrix (BERT); `dense-tanh` puts a dense layer and tanh before it (RoBERTa).
    """

    def __init__(self, form: HeadForm, hidden: int, request: HeadRequest, dropout: float) -> None:
        super().__init__()
        self.form: HeadForm = form
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden, hidden) if form == "dense-tanh" else None
        self.out = nn.Linear(hidden, request.outputs)

    def initialise(self, seed: int) -> None:
        """Draw the weights from a normal distribution and set the biases to zero."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for linear in filter(None, (self.dense, self.out)):
                linear.weight.copy_(torch.empty(linear.weight.shape).normal_(0, INITIAL_SPREAD, generator=generator))
                linear.bias.zero_()

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the outputs, in the head's own dtype."""
        rows = self.dropout(pooled.to(self.out.weight.dtype))
        if self.dense is not None:
            rows = self.dropout(torch.tanh(self.dense(rows)))
        return self.out(rows)


def count_head(form: HeadForm, hidden: int, outputs: int) -> int:
    """Count a head's parameters from its sizes."""
    dense = hidden * hidden + hidden if form == "dense-tanh" else 0
    return dense + hidden * outputs + outputs
