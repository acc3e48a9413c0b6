"""What is predicted from what, and how it is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from whichtune.spec.base import Spec


class TextClassificationSpec(Spec):
    """One label for one text."""

    kind: Literal["text-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


# A second member turns this into a union told apart by `kind`.
TaskSpec = Annotated[TextClassificationSpec, Field()]
