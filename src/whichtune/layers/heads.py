"""What turns hidden rows into outputs; ours, built from what a task asks for.

A class head reads one pooled row a sequence, a fusion head one of each of two encoders; a token head scores every token
of the vocabulary at the rows that have a target, through the backbone's own output head, and has no tensor of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, relu

from whichtune.models.backbone import Backbone
from whichtune.models.causal import score_tokens
from whichtune.models.head_forms import HEAD_FORMS, HeadForm, count_head
from whichtune.models.layout import Layout
from whichtune.spec.method_base import Fusion

__all__ = ["ClassHead", "FusionHead", "Head", "HeadForm", "HeadRequest", "NoHead", "TokenHead", "count_head"]

INITIAL_SPREAD = 0.02
"""Standard deviation of new weights, as BERT was initialised (Devlin et al. 2019)."""
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": relu, "gelu": gelu}


@dataclass(frozen=True)
class HeadRequest:
    """What a task needs from a head."""

    outputs: int
    """Numbers a row; 0 where tokens are asked for."""

    @property
    def tokens(self) -> bool:
        """Whether the answer is written in tokens, through the backbone's own output head."""
        return self.outputs == 0


class Head(nn.Module):
    """What every head can do."""

    @property
    def size(self) -> int:
        """Elements of the head, by its sizes."""
        raise NotImplementedError

    def initialise(self, seed: int) -> None:
        """Draw the weights from a seed."""
        raise NotImplementedError

    def answer(self, backbone: Backbone, hidden: Tensor, layout: Layout, pooling: str) -> Tensor:
        """Turn hidden rows [B, W, hidden] into outputs."""
        raise NotImplementedError

    def looks_at(self, backbone: Backbone, layout: Layout, pooling: str) -> Tensor:
        """Return the rows that `answer` reads, [B, W] bool."""
        return backbone.looks_at(layout, pooling)


class TokenHead(Head):
    """Scores of every token at the T rows that have a target: [B, W, hidden] -> [T, vocabulary]."""

    @property
    def size(self) -> int:
        """Nothing is added: what scores tokens is the backbone's."""
        return 0

    def initialise(self, seed: int) -> None:
        """Nothing is drawn."""

    def answer(self, backbone: Backbone, hidden: Tensor, layout: Layout, pooling: str) -> Tensor:
        """Score tokens at the targets' rows alone: over a wide vocabulary the other scores would fill the memory."""
        return score_tokens(backbone, hidden[self.looks_at(backbone, layout, pooling)])

    def looks_at(self, backbone: Backbone, layout: Layout, pooling: str) -> Tensor:
        """Return the rows that have a target."""
        assert layout.targets is not None, "batches of such tasks have targets"  # noqa: S101
        return layout.targets


class NoHead(Head):
    """Stands where a method is put onto one encoder of a pair, whose head reads both."""

    @property
    def size(self) -> int:
        """Nothing is there."""
        return 0

    def initialise(self, seed: int) -> None:
        """Nothing is drawn."""


class FusionHead(Head):
    """A classifier over an image's and a text's features side by side: [B, I + T] -> [B, outputs].

    Each half is brought to mean 0 and deviation 1 and mapped to a width of its own before both are put together:

    concat    both behind a ReLU, one linear map over them: additive in image and text, as is usual
    mlp       the same with a hidden layer over both
    product   both behind a tanh, multiplied element by element (Kim et al. 2017, "Hadamard product for low-rank
              bilinear pooling")
    """

    def __init__(
        self, widths: tuple[int, int], fusion: Fusion, inner: int, request: HeadRequest, dropout: float
    ) -> None:
        super().__init__()
        self.widths = widths
        self.fusion: Fusion = fusion
        self.image, self.text = (nn.Linear(width, inner) for width in widths)
        self.joint = nn.Linear(2 * inner, inner) if fusion == "mlp" else None
        self.out = nn.Linear(2 * inner if fusion == "concat" else inner, request.outputs)
        self.dropout = nn.Dropout(dropout)

    @property
    def size(self) -> int:
        """Elements of the head, by its sizes."""
        return count_fusion(self.widths, self.fusion, self.image.out_features, self.out.out_features)

    def initialise(self, seed: int) -> None:
        """Draw every matrix uniformly as torch's linear maps are, by their inputs (He et al. 2015); biases are zero."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for linear in filter(None, (self.image, self.text, self.joint, self.out)):
                bound = linear.in_features**-0.5
                drawn = torch.empty(linear.weight.shape).uniform_(-bound, bound, generator=generator)
                linear.weight.copy_(drawn)
                linear.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs, in the head's own dtype."""
        halves = features.to(self.out.weight.dtype).split(self.widths, dim=1)
        image, text = (
            linear(self.dropout(layer_norm(half, half.shape[1:])))
            for linear, half in zip((self.image, self.text), halves, strict=True)
        )
        if self.fusion == "product":
            return self.out(self.dropout(torch.tanh(image) * torch.tanh(text)))
        joined = torch.cat([relu(image), relu(text)], dim=1)
        return self.out(self.dropout(joined if self.joint is None else relu(self.joint(joined))))


def count_fusion(widths: tuple[int, int], fusion: Fusion, inner: int, outputs: int) -> int:
    """Count the parameters of a fusion head from its sizes."""
    maps = sum(width * inner + inner for width in widths)
    joint = 2 * inner * inner + inner if fusion == "mlp" else 0
    return maps + joint + (2 * inner if fusion == "concat" else inner) * outputs + outputs


class ClassHead(Head):
    """A classifier over pooled rows: [B, hidden] -> [B, outputs].

    Its form is the family's own: one matrix, or a dense layer, an activation and perhaps a norm before it
    (`models/head_forms.py`), with dropout where the family has it.
    """

    def __init__(self, form: HeadForm, hidden: int, request: HeadRequest, dropout: float) -> None:
        super().__init__()
        shape = HEAD_FORMS[form]
        self.form: HeadForm = form
        self.dropout = nn.Dropout(dropout)
        self.dense = None if shape.activation is None else nn.Linear(hidden, hidden, bias=shape.bias)
        self.norm = nn.LayerNorm(hidden, bias=False) if shape.norm else None
        self.out = nn.Linear(hidden, request.outputs)

    @property
    def size(self) -> int:
        """Elements of the head, by its sizes."""
        return count_head(self.form, self.out.in_features, self.out.out_features)

    def answer(self, backbone: Backbone, hidden: Tensor, layout: Layout, pooling: str) -> Tensor:
        """Pool the rows the layout lets a head read, and classify each: [B, outputs]."""
        return self(backbone.pool(hidden, layout, pooling))

    def initialise(self, seed: int) -> None:
        """Draw the weights from a normal distribution and set the biases to zero; a norm starts at one."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for linear in filter(None, (self.dense, self.out)):
                linear.weight.copy_(torch.empty(linear.weight.shape).normal_(0, INITIAL_SPREAD, generator=generator))
                for name, tensor in linear.named_parameters():
                    if name == "bias":
                        tensor.zero_()
            if self.norm is not None:
                self.norm.weight.fill_(1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the outputs, in the head's own dtype."""
        rows = pooled.to(self.out.weight.dtype)
        shape = HEAD_FORMS[self.form]
        if self.dense is not None and shape.activation is not None:
            rows = self.dropout(rows) if shape.dropout_first else rows
            rows = ACTIVATIONS[shape.activation](self.dense(rows))
        if self.norm is not None:
            rows = self.norm(rows)
        return self.out(self.dropout(rows))
