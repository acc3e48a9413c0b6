"""What the trials of a study share in one process: data, task, one loaded backbone, token ids; and the ledger of it."""

from __future__ import annotations

import gc
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from whichtune.data.examples import DataSet
from whichtune.engine.build import request_load
from whichtune.engine.encoding import encode_splits
from whichtune.engine.portions import count_rows
from whichtune.engine.trial import Material
from whichtune.fetch.cache import cache_root
from whichtune.measure.device import mkl_lags
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.methods import MethodSpec
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
    key: tuple[str, LoadRequest] | None = None
    backbone: Backbone | None = None
    sums: tuple[tuple[str, int, int], ...] = ()
    materials: dict[tuple[str, int], Material] = field(default_factory=dict)

    def load(self, name: str, request: LoadRequest) -> Backbone:
        """Return a backbone of the study as a method needs it, loaded now or before."""
        if self.backbone is None or self.key != (name, request):
            self.drop()
            with self.ledger.spending("load", name):
                backbone = load_backbone(self.study.backbone(name), request)
                backbone.trunk.to(self.device)
            self.key, self.backbone, self.sums = (name, request), backbone, checksum(backbone.trunk)
        return self.backbone

    def request(self, method: MethodSpec) -> LoadRequest:
        """How a method needs its backbone, for what this study's task gives."""
        request = request_load(method, self.study.execution.attention, self.study.task.reads, self.study.engine)
        return replace(request, widen=request.widen and mkl_lags(self.device))

    @property
    def evaluation_rows(self) -> int:
        """Rows of a forward pass when predicting, on this device."""
        return count_rows(self.study.execution.evaluation_batch, self.device)

    def drop(self) -> None:
        """Forget the loaded backbone and give its memory back."""
        self.key, self.backbone, self.sums = None, None, ()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def intact(self) -> bool:
        """Whether the backbone's tensors are those that were loaded; False, too, where they can no longer be read."""
        try:
            return self.backbone is None or checksum(self.backbone.trunk) == self.sums
        except RuntimeError:
            return False

    def material(self, name: str, request: LoadRequest, max_length: int) -> Material:
        """Return the examples as token ids of a backbone's tokenizer, encoded once."""
        key = (name, max_length)
        if key not in self.materials:
            reader = self.load(name, request).reader
            with self.ledger.spending("encode", name):
                encoded = encode_splits(self.data, self.task, reader, max_length, cache_root())
            self.materials[key] = Material(self.task, self.data, encoded)
        return self.materials[key]


def checksum(module: nn.Module) -> tuple[tuple[str, int, int], ...]:
    """Sum the bit patterns of every parameter and buffer, plain and weighted by place: a moved value shows, too."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return tuple((name, *_bit_sums(tensor.detach())) for name, tensor in sorted(tensors.items()))


def _bit_sums(tensor: Tensor) -> tuple[int, int]:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    flat = tensor.contiguous().reshape(-1)
    bits = flat.view(kinds[flat.element_size()]).to(torch.int64)
    places = torch.arange(1, len(bits) + 1, device=bits.device)
    return int(bits.sum()), int((bits * places).sum())
