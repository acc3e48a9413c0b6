"""The checking process: `python -m whichtune.study.checking STUDY DEVICE THREADS`, a question and an answer a line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from whichtune.engine.adapter import check_adapter, load_card
from whichtune.engine.build import request_load
from whichtune.measure.device import pick_device, set_threads
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.read import load_stored_study
from whichtune.spec.study import StudySpec


def main(study: str, device: str, threads: str) -> None:
    """Answer until the other side closes its end; an adapter that fails is an answer, not an end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    spec, _ = load_stored_study(Path(study) / "study.yaml")
    set_threads(int(threads))
    bench = Bench(spec, pick_device(device))
    for line in sys.stdin:
        question = json.loads(line)
        answers.write(json.dumps(bench.answer(Path(question["adapter"]), question["backbone"])) + "\n")
        answers.flush()


class Bench:
    """Holds one backbone between questions; on a GPU it waits in main memory, where it is in no trial's way."""

    def __init__(self, spec: StudySpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.loaded: dict[tuple[str, LoadRequest], Backbone] = {}

    def answer(self, adapter: Path, name: str) -> dict[str, Any]:
        """Check one adapter; after a failure the backbone is loaded anew."""
        try:
            backbone = self._load(adapter, name)
            backbone.trunk.to(self.device)
            told = check_adapter(adapter, backbone)
            backbone.trunk.to("cpu")
        except Exception as error:  # whatever it is, the asker must hear of it
            self.loaded.clear()
            return {"error": f"{type(error).__name__}: {error}"}
        return told

    def _load(self, adapter: Path, name: str) -> Backbone:
        way = (self.spec.execution.attention, self.spec.task.reads, self.spec.engine)
        key = name, request_load(load_card(adapter).method, *way)
        if key not in self.loaded:
            self.loaded = {key: load_backbone(self.spec.backbone(name), key[1])}
        return self.loaded[key]


if __name__ == "__main__":
    main(*sys.argv[1:])
