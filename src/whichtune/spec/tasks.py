"""What is predicted from what, and how it is scored."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from whichtune.spec.base import Spec


class TextClassificationSpec(Spec):
    """One label for one text."""

    texts: ClassVar[int] = 1
    kind: Literal["text-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


class PairClassificationSpec(Spec):
    """One label for two texts: inference, paraphrase, an answer to a question."""

    texts: ClassVar[int] = 2
    kind: Literal["pair-classification"]
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"
    """The metric that choices and comparisons use; all are reported."""


TaskSpec = Annotated[TextClassificationSpec | PairClassificationSpec, Field(discriminator="kind")]
