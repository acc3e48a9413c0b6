"""What the trials of a study share in one process: data, task, one loaded backbone, token ids; and the ledger of it."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from whichtune.data.examples import DataSet
from whichtune.engine.encoding import encode_splits
from whichtune.engine.trial import Material
from whichtune.fetch.cache import cache_root
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.study import StudySpec
from whichtune.tasks.contract import Task


@dataclass
class Ledger:
    """`costs/<worker>.jsonl`: seconds of what belongs to no single trial."""

    path: Path

    @contextmanager
    def spending(self, what: str, about: str = "") -> Generator[None]:
        """Write how long the inside took."""
        start = perf_counter()
        try:
            yield
        finally:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"what": what, "about": about, "seconds": perf_counter() - start}) + "\n")


@dataclass
class Shared:
    """Loads each backbone once and notices when one was not given back as it was."""

    study: StudySpec
    data: DataSet
    task: Task
    device: torch.device
    ledger: Ledger
    name: str | None = None
    backbone: Backbone | None = None
    sums: tuple[float, ...] = ()
    materials: dict[tuple[str, int], Material] = field(default_factory=dict)

    def load(self, name: str) -> Backbone:
        """Return a backbone of the study, loaded now or before."""
        if self.backbone is None or self.name != name:
            self.drop()
            request = LoadRequest(attention=self.study.execution.attention)
            with self.ledger.spending("load", name):
                backbone = load_backbone(self.study.backbones[name], request)
                backbone.trunk.to(self.device)
            self.name, self.backbone, self.sums = name, backbone, checksum(backbone.trunk)
        return self.backbone

    def drop(self) -> None:
        """Forget the loaded backbone."""
        self.name, self.backbone, self.sums = None, None, ()

    def intact(self) -> bool:
        """Whether the backbone's tensors are those that were loaded, bit for bit."""
        return self.backbone is None or checksum(self.backbone.trunk) == self.sums

    def material(self, name: str, max_length: int) -> Material:
        """Return the examples as token ids of a backbone's tokenizer, encoded once."""
        key = (name, max_length)
        if key not in self.materials:
            encoder = self.load(name).encoder
            with self.ledger.spending("encode", name):
                encoded = encode_splits(self.data, self.task, encoder, max_length, cache_root())
            self.materials[key] = Material(self.task, self.data, encoded)
        return self.materials[key]


def checksum(module: nn.Module) -> tuple[Any, ...]:
    """Sum the bit patterns of every parameter and buffer: equal tensors give equal sums."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return tuple((name, _bit_sum(tensor.detach())) for name, tensor in sorted(tensors.items()))


def _bit_sum(tensor: torch.Tensor) -> int:
    flat = tensor.contiguous().reshape(-1)
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return int(flat.view(kinds[flat.element_size()]).sum(dtype=torch.int64))
