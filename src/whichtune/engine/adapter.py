"""A saved adapter: what a method trained, and all it takes to put it back.

adapter/
  adapter.safetensors     the trained tensors, head included
  adapter.json            backbone, method, task, head, streams, labels
  sample.json             a few rows (text, second text, answer, image), and what the trained model gave for them:
                          logits, or where answers are written the scores of their tokens
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from whichtune.data.examples import Example
from whichtune.engine.assembly import Assembly
from whichtune.engine.build import build_assembly
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.errors import AdapterError, RecordError
from whichtune.fetch.atomic import write_text, writing
from whichtune.fetch.pictures import Picture
from whichtune.layers.heads import HeadRequest
from whichtune.models.backbone import Backbone
from whichtune.spec.backbones import BackboneSpec
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import Columns
from whichtune.spec.tasks import TaskSpec
from whichtune.tasks import build_task
from whichtune.tasks.contract import Task

SAMPLE_ROWS = 8
"""Rows whose logits prove a saved adapter."""


class AdapterCard(BaseModel):
    """`adapter.json`: how to build the model that the tensors belong to."""

    model_config = ConfigDict(extra="forbid")

    backbone: BackboneSpec
    weights: str
    """Fingerprint of the backbone's weights."""
    method: MethodSpec
    task: TaskSpec
    labels: tuple[str, ...]
    columns: Columns = Columns()
    """Which column held what in training; templates of prompts may name them."""
    outputs: int
    head_dropout: float
    max_length: int
    seed: int
    stream: int

    def build_task(self) -> Task:
        """Build the task it was trained for."""
        return build_task(self.task, self.labels, self.columns)


def save_adapter(folder: Path, assembly: Assembly, card: AdapterCard, rows: Sequence[Example]) -> int:
    """Write an adapter and its sample rows; return the size of its tensors in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in assembly.attachment.saved.items()}
    with writing(folder / "adapter.safetensors") as temporary:
        save_file(tensors, temporary)
    sample = [[row.text, row.pair, row.gold, *([asdict(row.image)] if row.image else [])] for row in rows]
    logits = sample_logits(assembly, card.build_task(), rows, card.max_length)
    write_text(folder / "sample.json", json.dumps({"rows": sample, "logits": logits.tolist()}))
    write_text(folder / "adapter.json", card.model_dump_json(indent=1))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def load_card(folder: Path) -> AdapterCard:
    """Read what an adapter is, or say that it is none."""
    try:
        return AdapterCard.model_validate_json((folder / "adapter.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{folder}: no readable adapter ({error})", remedy="give the folder of a finished trial"
        ) from error


def load_adapter(folder: Path, backbone: Backbone) -> Assembly:
    """Put a saved adapter onto a backbone with the weights it was trained on."""
    card = load_card(folder)
    if backbone.fingerprint != card.weights:
        raise AdapterError(f"{folder}: trained on weights {card.weights[:12]}, not on {backbone.fingerprint[:12]}")
    streams = Streams(card.seed, card.stream)
    assembly = build_assembly(backbone, card.method, HeadRequest(card.outputs), card.head_dropout, streams)
    try:
        _fill(folder, assembly)
    except BaseException:
        assembly.attachment.detach()
        raise
    return assembly


def sample_logits(assembly: Assembly, task: Task, rows: Sequence[Example], max_length: int) -> Tensor:
    """Return the unmerged logits of a few rows in one batch (or what stands for them), on the CPU in fp32."""
    encoded = task.encode(rows, assembly.backbone.reader, max_length)
    batch = encoded.collate(range(len(encoded))).to(assembly.device)
    with assembly.predicting(merge=False):
        return task.sample(assembly(batch), batch.targets).float().cpu()


def check_adapter(folder: Path, backbone: Backbone) -> dict[str, Any]:
    """Reload an adapter and compare its logits with the stored ones; the backbone is given back as it was."""
    card = load_card(folder)
    stored = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    rows = [_read_row(place, *fields) for place, fields in enumerate(stored["rows"], start=1)]
    assembly = load_adapter(folder, backbone)
    try:
        logits = sample_logits(assembly, card.build_task(), rows, card.max_length)
    finally:
        assembly.attachment.detach()
    apart = distance(logits, torch.tensor(stored["logits"]))
    allowed = TOLERANCES[card.backbone.dtype]
    return {"ok": apart <= allowed, "distance": apart, "allowed": allowed}


def _read_row(
    place: int, text: str, pair: str | None, gold: str | None = None, image: Mapping[str, str] | None = None
) -> Example:
    picture = None if image is None else Picture(**image)
    return Example(str(place), "sample", text, gold, f"sample.json:{place}", pair, image=picture)


def _fill(folder: Path, assembly: Assembly) -> None:
    try:
        tensors = load_file(folder / "adapter.safetensors")
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{folder}: adapter.safetensors cannot be read ({error})") from error
    places = assembly.attachment.saved
    if set(tensors) != set(places):
        odd = sorted(set(tensors) ^ set(places))[:5]
        raise AdapterError(f"{folder}: the saved tensors are not the method's: {', '.join(odd)}")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])
