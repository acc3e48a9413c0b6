"""The styles and wordings that are shipped: data in one file, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from whichtune.spec.prompts import PromptSpec, StyleSpec, WordingName, WordingSpec
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import SummarizationSpec, TaskSpec

INFERENCE = {"entailment", "neutral", "contradiction"}
"""The labels of natural language inference."""


def find_style(spec: PromptSpec) -> StyleSpec:
    """Return the style of a prompt: the user's own, or the one that is named."""
    return spec.template or StyleSpec.model_validate(_read_shipped()["styles"][spec.style])


def find_wording(spec: PromptSpec) -> WordingSpec:
    """Return the wording of a prompt: the user's own, or the one that is named."""
    return spec.own_wording or WordingSpec.model_validate(_read_shipped()["wordings"][spec.wording or "labels"])


def choose_wording(task: TaskSpec, labels: Sequence[str], columns: Columns) -> WordingName:
    """Return the wording of a task that names none."""
    if task.answers == "texts":
        return "summaries" if isinstance(task, SummarizationSpec) else "problems"
    if columns.pair is None:
        return "labels"
    return "inference" if set(labels) == INFERENCE else "pairs"


def list_styles() -> tuple[str, ...]:
    """Return the names of the styles that are shipped."""
    return tuple(_read_shipped()["styles"])


def list_wordings() -> tuple[str, ...]:
    """Return the names of the wordings that are shipped."""
    return tuple(_read_shipped()["wordings"])


@lru_cache(maxsize=1)
def _read_shipped() -> Mapping[str, Mapping[str, Any]]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(
        files("whichtune.prompts").joinpath("styles.yaml").read_text(encoding="utf-8")
    )
