"""The checking process: `python -m whichtune.study.checking STUDY DEVICE THREADS`, a question and an answer a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from whichtune.engine.adapter import check_adapter
from whichtune.measure.device import pick_device, set_threads
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.read import load_stored_study


def main(study: str, device: str, threads: str) -> None:
    """Answer until the other side closes its end; an adapter that fails is an answer, not an end."""
    spec, _ = load_stored_study(Path(study) / "study.yaml")
    set_threads(int(threads))
    place = pick_device(device)
    loaded: dict[str, Backbone] = {}
    for line in sys.stdin:
        question = json.loads(line)
        name = question["backbone"]
        try:
            if name not in loaded:
                loaded.clear()
                loaded[name] = load_backbone(spec.backbones[name], LoadRequest(attention=spec.execution.attention))
                loaded[name].trunk.to(place)
            answer = check_adapter(Path(question["adapter"]), loaded[name])
        except Exception as error:  # whatever it is, the asker must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
