"""Asking the untouched model: which examples stand in each row's prompt."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example
from whichtune.prompts.choosing import Chooser, Neighbours, make_pool
from whichtune.prompts.prompt import Recipe
from whichtune.prompts.styles import find_style
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import LanguageTaskBase, TaskSpec


class Prompting:
    """Prompts with or without training rows as examples."""

    def choose(
        self,
        spec: PromptingSpec,
        recipe: Recipe,
        train: Sequence[Example],
        streams: Streams,
        neighbours: Neighbours | None = None,
    ) -> Chooser:
        """Return what chooses the examples of each row; a draw depends on streams, pool and row alone."""
        return Chooser(make_pool(train if recipe.shots else ()), recipe.choosing, recipe.shots, streams, neighbours)

    def needs_neighbours(self, spec: PromptingSpec, recipe: Recipe) -> bool:
        """Whether rows must be compared by an encoder."""
        return recipe.shots > 0 and recipe.choosing.choice == "nearest"

    def draws(self, spec: PromptingSpec, task: TaskSpec) -> bool:
        """Whether two seeds may answer differently: examples are drawn, or tokens are."""
        temperature = task.decoding.temperature if isinstance(task, LanguageTaskBase) else 0.0
        drawn = self.learns(spec, task) and _lay(spec, task).shots.choice != "nearest"
        return drawn or float(spec.decoding.get("temperature", temperature)) > 0

    def learns(self, spec: PromptingSpec, task: TaskSpec) -> bool:
        """Whether training rows stand in prompts; worked examples are the style's own."""
        prompt = _lay(spec, task)
        style = find_style(prompt)
        count = style.examples if prompt.shots.count is None else prompt.shots.count
        return count > 0 and not style.worked


def _lay(spec: PromptingSpec, task: TaskSpec) -> PromptSpec:
    return spec.lay_over(task.prompt if isinstance(task, LanguageTaskBase) else PromptSpec())
