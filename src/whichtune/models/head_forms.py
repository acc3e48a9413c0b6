"""The forms of heads that families have: what stands between the pooled row and the last linear map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HeadForm = Literal["linear", "dense-tanh", "dense-relu", "dense-gelu", "dense-gelu-norm"]


@dataclass(frozen=True)
class HeadShape:
    """What stands before the last linear map; dropout stands right before that map in every form."""

    activation: Literal["tanh", "relu", "gelu"] | None = None
    """What follows a dense layer as wide as the hidden rows; None where there is no such layer."""
    dropout_first: bool = True
    """Whether dropout stands before the dense layer as well."""
    bias: bool = True
    """Whether the dense layer has a bias."""
    norm: bool = False
    """Whether a layer norm without bias follows the activation."""


HEAD_FORMS: Mapping[HeadForm, HeadShape] = {
    "linear": HeadShape(),
    "dense-tanh": HeadShape("tanh"),
    "dense-relu": HeadShape("relu", dropout_first=False),
    "dense-gelu": HeadShape("gelu"),
    "dense-gelu-norm": HeadShape("gelu", dropout_first=False, bias=False, norm=True),
}
"""BERT and ALBERT; RoBERTa and MPNet; DistilBERT; ELECTRA and DeBERTa; ModernBERT."""


def count_head(form: HeadForm, hidden: int, outputs: int) -> int:
    """Count a head's parameters from its sizes."""
    shape = HEAD_FORMS[form]
    last = hidden * outputs + outputs
    if shape.activation is None:
        return last
    return hidden * hidden + hidden * (shape.bias + shape.norm) + last
