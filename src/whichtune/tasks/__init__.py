"""What is predicted from what, and how it is scored: one file a task, and one line in the table below."""

from typing import Any

from whichtune.spec.tasks import PairClassificationSpec, TaskSpec, TextClassificationSpec
from whichtune.tasks.classification import TextClassification
from whichtune.tasks.contract import Task
from whichtune.tasks.pairs import PairClassification

BUILDERS: dict[type, Any] = {
    TextClassificationSpec: TextClassification,
    PairClassificationSpec: PairClassification,
}
"""Spec class to task class; a test holds its keys against the union's members."""


def build_task(spec: TaskSpec, labels: tuple[str, ...]) -> Task:
    """Build a task over the labels its data have."""
    return BUILDERS[type(spec)](spec, labels)
