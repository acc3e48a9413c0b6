"""A finished trial at work: its model put together again from the saved adapter, and asked about new rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import torch

from whichtune.data.examples import Example
from whichtune.engine.adapter import load_adapter, load_card
from whichtune.engine.assembly import Assembly
from whichtune.engine.build import request_load
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.predict import answer_rows
from whichtune.engine.speaking import Speaker
from whichtune.measure.device import mkl_lags
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import EncodedRows
from whichtune.models.causal import require_output
from whichtune.models.load import load_backbone
from whichtune.records.predictions import Predictions
from whichtune.spec.backbones import BackboneSpec
from whichtune.tasks.asking import Asking
from whichtune.tasks.contract import Task, WrittenTask

NEW = "new"
"""Name of the split that new rows form."""


@dataclass(frozen=True)
class Manner:
    """How a finished trial is run; nothing here decides an answer beyond rounding."""

    device: torch.device
    batch: int
    """Rows a forward pass."""
    precision: str = "float32"
    attention: str = "sdpa"


class Answerer(Protocol):
    """What answers new rows, whether a method trained it or not."""

    @property
    def task(self) -> Task:
        """What is predicted from what."""
        ...

    @property
    def merged(self) -> bool:
        """Whether an adapter is merged into the trunk."""
        ...

    @property
    def speaker(self) -> Speaker:
        """The model as one that writes."""
        ...

    @property
    def asking(self) -> Asking:
        """How it is asked, where it answers in words."""
        ...

    def encode(self, examples: Sequence[Example]) -> EncodedRows:
        """Return rows as token ids."""
        ...

    def answer(self, examples: Sequence[Example]) -> tuple[Predictions, EncodedRows]:
        """Predict rows, in their order; also return them as token ids."""
        ...


@dataclass(frozen=True)
class Predictor:
    """A model ready to answer: in eval mode, merged where that is possible."""

    assembly: Assembly
    task: Task
    max_length: int
    batch: int
    arithmetic: Arithmetic
    merged: bool

    @property
    def speaker(self) -> Speaker:
        """The model as one that writes, behind what the method puts in front of a text."""
        return Speaker(self.assembly.backbone, self.arithmetic, self.assembly.attachment.inputs)

    @property
    def asking(self) -> Asking:
        """How it is asked, where it answers in words."""
        return cast(WrittenTask, self.task).asking

    def encode(self, examples: Sequence[Example]) -> EncodedRows:
        """Return rows as token ids."""
        return self.task.encode(examples, self.assembly.backbone.reader, self.max_length)

    def answer(self, examples: Sequence[Example]) -> tuple[Predictions, EncodedRows]:
        """Predict rows, in their order; also return them as token ids. There must be one row at least."""
        encoded = self.encode(examples)
        table = answer_rows(self.assembly, self.task, NEW, (examples, encoded), self.batch, self.arithmetic)
        return table, encoded


@contextmanager
def open_predictor(adapter: Path, manner: Manner) -> Generator[Predictor]:
    """Load backbone and adapter, and merge them for as long as answers are wanted."""
    card = load_card(adapter)
    request = request_load(card.method, manner.attention, card.task.reads)
    backbone = load_backbone(card.backbone, replace(request, widen=mkl_lags(manner.device)))
    backbone.trunk.to(manner.device)
    assembly = load_adapter(adapter, backbone)
    try:
        with assembly.predicting() as merged:
            task, arithmetic = card.build_task(), Arithmetic(manner.precision, manner.device)
            yield Predictor(assembly, task, card.max_length, manner.batch, arithmetic, merged)
    finally:
        assembly.attachment.detach()


def open_model(spec: BackboneSpec, manner: Manner) -> Speaker:
    """Load a model as it was released, to write with; refuse one that scores no tokens."""
    backbone = load_backbone(spec, LoadRequest(attention=manner.attention, widen=mkl_lags(manner.device)))
    require_output(backbone)
    backbone.trunk.to(manner.device)
    return Speaker(backbone, Arithmetic(manner.precision, manner.device))
