"""A finished trial at work: its model put together again from the saved adapter, and asked about new rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from whichtune.data.examples import Example
from whichtune.engine.adapter import load_adapter, load_card
from whichtune.engine.assembly import Assembly
from whichtune.engine.build import request_load
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.predict import answer_rows
from whichtune.models.batch import Encoded
from whichtune.models.load import load_backbone
from whichtune.records.predictions import Predictions
from whichtune.tasks.contract import Task

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


@dataclass(frozen=True)
class Predictor:
    """A model ready to answer: in eval mode, merged where that is possible."""

    assembly: Assembly
    task: Task
    max_length: int
    batch: int
    arithmetic: Arithmetic
    merged: bool

    def answer(self, examples: Sequence[Example]) -> tuple[Predictions, Encoded]:
        """Predict rows, in their order; also return them as token ids. There must be one row at least."""
        encoded = self.task.encode(examples, self.assembly.backbone.encoder, self.max_length)
        table = answer_rows(self.assembly, self.task, NEW, (examples, encoded), self.batch, self.arithmetic)
        return table, encoded


@contextmanager
def open_predictor(adapter: Path, manner: Manner) -> Generator[Predictor]:
    """Load backbone and adapter, and merge them for as long as answers are wanted."""
    card = load_card(adapter)
    backbone = load_backbone(card.backbone, request_load(card.method, manner.attention))
    backbone.trunk.to(manner.device)
    assembly = load_adapter(adapter, backbone)
    try:
        with assembly.predicting() as merged:
            task, arithmetic = card.build_task(), Arithmetic(manner.precision, manner.device)
            yield Predictor(assembly, task, card.max_length, manner.batch, arithmetic, merged)
    finally:
        assembly.attachment.detach()
