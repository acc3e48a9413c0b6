"""Asking a model with two towers which class name an image is nearest to: no examples, nothing drawn."""

from __future__ import annotations

from collections.abc import Sequence

from whichtune.data.examples import Example
from whichtune.prompts.choosing import Chooser, Neighbours, make_pool
from whichtune.prompts.prompt import Recipe
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import TaskSpec
from whichtune.spec.zero_shot import ZeroShotSpec


class ZeroShot:
    """Class names alone: the templates say all (`prompts/class_names.py`), and `engine/matching.py` compares."""

    def choose(
        self,
        spec: ZeroShotSpec,
        recipe: Recipe,
        train: Sequence[Example],
        streams: Streams,
        neighbours: Neighbours | None = None,
    ) -> Chooser:
        """Choose no examples."""
        return Chooser(make_pool(()), recipe.choosing, 0, streams, None)

    def needs_neighbours(self, spec: ZeroShotSpec, recipe: Recipe) -> bool:
        """No rows are compared with each other."""
        return False

    def draws(self, spec: ZeroShotSpec, task: TaskSpec) -> bool:
        """Every seed answers alike."""
        return False

    def learns(self, spec: ZeroShotSpec, task: TaskSpec) -> bool:
        """No training row is looked at."""
        return False
