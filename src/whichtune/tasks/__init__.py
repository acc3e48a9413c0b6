"""What is predicted from what, and how it is scored: one file a task, and one line in the table below."""

from typing import Any

from whichtune.spec.sources import Columns
from whichtune.spec.tasks import (
    ImageClassificationSpec,
    InstructionClassificationSpec,
    PairClassificationSpec,
    QuestionAnsweringSpec,
    SummarizationSpec,
    TaskSpec,
    TextClassificationSpec,
    VisualQuestionAnsweringSpec,
)
from whichtune.tasks.classification import TextClassification
from whichtune.tasks.contract import Task
from whichtune.tasks.images import ImageClassification, VisualQuestionAnswering
from whichtune.tasks.language import InstructionClassification, QuestionAnswering, Summarization
from whichtune.tasks.pairs import PairClassification

BUILDERS: dict[type, Any] = {
    TextClassificationSpec: TextClassification,
    PairClassificationSpec: PairClassification,
    ImageClassificationSpec: ImageClassification,
    VisualQuestionAnsweringSpec: VisualQuestionAnswering,
    InstructionClassificationSpec: InstructionClassification,
    SummarizationSpec: Summarization,
    QuestionAnsweringSpec: QuestionAnswering,
}
"""Spec class to task class; a test holds its keys against the union's members."""


def build_task(spec: TaskSpec, labels: tuple[str, ...], columns: Columns | None = None) -> Task:
    """Build a task over the labels and columns its data have; templates of prompts may name columns."""
    return BUILDERS[type(spec)](spec, labels, columns or Columns())
