"""The three families of methods. The engine knows families, never a method's name.

baselines   need no backbone
prompters   say what stands in the prompt of an example; they train nothing
tuners      attach something trainable to a backbone, and can take it off again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from whichtune.data.examples import Example
from whichtune.layers.heads import Head, HeadRequest
from whichtune.layers.masks import StepKey
from whichtune.models.anatomy import Anatomy
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.layout import Layout
from whichtune.prompts.choosing import Chooser, Neighbours
from whichtune.prompts.prompt import Recipe
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import TaskSpec

Inputs = Callable[[Tensor, Layout], tuple[Tensor, Layout]]
Guesser = Callable[[Sequence[Example]], np.ndarray | list[str]]
"""From rows to label shares [rows, labels], or to texts where answers are texts."""


def unchanged(embedded: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    """Leave the embedded rows as they are: the identity of `Attachment.inputs`."""
    return embedded, layout


@dataclass(frozen=True)
class Theory:
    """Trainable elements by integer arithmetic on configuration fields, or None and why there is no formula."""

    trainable: int | None
    reason: str = ""


@dataclass
class Attachment:
    """What a tuner put onto a backbone, and everything the engine may do with it.

    Names start with `trunk.`, `head.` or `added.`, after where the tensor lives. `trained` and `inert` together are
    what the method opens; inert tensors are held still, since their true gradient is zero or the head does not reach
    them.
    """

    trained: dict[str, nn.Parameter]
    inert: dict[str, nn.Parameter]
    saved: dict[str, Tensor]
    """What must be kept to have this model again: the trained tensors and the buffers they move."""
    active: tuple[nn.Module, ...]
    """Modules in train mode while fitting; all others stay in eval mode."""
    theory: Theory
    detach: Callable[[], None]
    """Give the backbone back bit for bit."""
    pooling: str = "default"
    inputs: Inputs = unchanged
    rowwise: bool = False
    """Whatever stands in the trunk beside its own parts treats rows one by one, so that padding may be left out."""
    rows_in_front: int = 0
    """Virtual rows `inputs` puts in front of every text; they take positions of the model."""
    merge: Callable[[], None] | None = None
    unmerge: Callable[[], None] | None = None
    merge_reason: str = ""
    """Why there is no merge, where there is none."""
    plan: Callable[[int], None] | None = None
    """Told the number of optimizer steps before the first; only a method with a schedule of its own needs it."""
    penalty: Callable[[], Tensor] | None = None
    """A regulariser of the method's own, differentiated once a step beside the loss; the curve leaves it out."""
    after_step: Callable[[int], None] | None = None
    """Called after each optimizer step, the gradients still there, with the number of steps taken."""
    key: StepKey | None = None
    """Keyed dropout of this attachment; the loop moves it."""
    matched: tuple[str, ...] = ()
    """Modules the method's targets matched, by full path."""
    added: int = 0
    """Elements that stand beside trunk and head."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know about the attaching."""
    parts: Mapping[str, Attachment] = field(default_factory=dict)
    """Of a pair of encoders: role to what was put onto that encoder alone."""


class Tuner(Protocol):
    """Attach something trainable to a backbone."""

    def supports(self, spec: Any, anatomy: Anatomy, request: HeadRequest) -> str | None:
        """Return why this method makes no sense on this anatomy or task, or None where it does."""
        ...

    def needs(self, spec: Any) -> LoadRequest:
        """Return how the backbone must be loaded for this method."""
        ...

    def attach(self, backbone: Backbone, head: Head, spec: Any, key: StepKey) -> Attachment:
        """Put the method onto the backbone; new tensors are drawn from the key's streams."""
        ...


class Baseline(Protocol):
    """Predict without a backbone."""

    deterministic: bool
    """No randomness: one trial is enough."""
    learns: bool
    """Whether other training rows may make another answer."""

    def fit(self, examples: Sequence[Example], targets: np.ndarray, labels: int) -> Guesser:
        """Learn from training rows; `labels` is 0 where answers are texts."""
        ...


class Prompter(Protocol):
    """Choose what stands in front of each row; prompts are made, and completions read, by the task's own words."""

    def choose(
        self, spec: Any, recipe: Recipe, train: Sequence[Example], streams: Streams, neighbours: Neighbours | None
    ) -> Chooser:
        """Return what chooses the examples of each row, whatever order, batch or worker it comes in."""
        ...

    def needs_neighbours(self, spec: Any, recipe: Recipe) -> bool:
        """Whether the engine must hand `neighbours` in."""
        ...

    def draws(self, spec: Any, task: TaskSpec) -> bool:
        """Whether there is randomness: without, one trial is enough."""
        ...

    def learns(self, spec: Any, task: TaskSpec) -> bool:
        """Whether training rows stand in prompts."""
        ...


@dataclass
class Openings:
    """Tensors a method opens, gathered by name before anything is wrapped or trained."""

    trained: dict[str, nn.Parameter] = field(default_factory=dict)
    inert: dict[str, nn.Parameter] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    """What moves without gradients while the opened parts are in train mode (a batch norm's statistics)."""

    def open(self, prefix: str, tensors: Mapping[str, nn.Parameter], inert: frozenset[str] = frozenset()) -> None:
        """Open tensors under a prefix; those named in `inert` are held still."""
        for name, tensor in tensors.items():
            (self.inert if name in inert else self.trained)[f"{prefix}.{name}"] = tensor

    @property
    def saved(self) -> dict[str, Tensor]:
        """What must be kept to have the opened parts again."""
        return {**self.trained, **self.buffers}
