"""A tracker's process: `python -m whichtune.trackers.child`, a request and an answer a line.

The first request makes the tracker, the others call it. When the other side is gone (finished, or killed), a run that
is still open ends as interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

from whichtune.spec.trackers import MlflowSpec, TensorBoardSpec, TrackerSpec, TrackioSpec, WandbSpec
from whichtune.trackers.contract import Ending, Opening, Tracker

BUILDERS: dict[type, tuple[str, str]] = {
    TensorBoardSpec: ("tensorboard", "TensorBoardTracker"),
    WandbSpec: ("wandb", "WandbTracker"),
    MlflowSpec: ("mlflow", "MlflowTracker"),
    TrackioSpec: ("trackio", "TrackioTracker"),
}
"""Spec class to the module here and the class in it; a test holds its keys against the union's members."""


@dataclass
class Desk:
    """Holds the tracker between requests."""

    tracker: Tracker | None = None
    step: int = 0
    running: bool = False

    def do(self, request: dict[str, Any]) -> None:
        """Carry out one request."""
        what = request.pop("do")
        if what == "make":
            self.tracker = make_tracker(TypeAdapter(TrackerSpec).validate_python(request["spec"]), request["folder"])
            return
        assert self.tracker is not None  # noqa: S101 - made first
        if what == "open":
            self.step, self.running = 0, True
            self.tracker.open(Opening(**request))
        elif what == "log":
            self.step = request["step"]
            self.tracker.log(request["step"], request["figures"])
        else:
            self.running = False
            self.tracker.end(Ending(**request))

    def leave(self) -> None:
        """End a run that nobody ended."""
        if self.tracker is not None and self.running:
            self.tracker.end(Ending("interrupted", self.step))


def make_tracker(spec: Any, folder: str) -> Tracker:
    """Import the library and make its tracker; a library that is missing raises ImportError."""
    module, name = BUILDERS[type(spec)]
    return getattr(import_module(f"whichtune.trackers.{module}"), name)(spec, Path(folder))


def main() -> None:
    """Answer until the other side closes its end; whatever fails is an answer, not an end."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # nor may one wait for a word from the keyboard
    desk = Desk()
    for line in requests:
        _answer(answers, attempt(desk, json.loads(line)))
    desk.leave()


def attempt(desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out a request; return what failed, and whether that was an import."""
    try:
        desk.do(request)
    except Exception as error:  # whatever it is, the asker must hear of it
        told = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return {"error": told, "missing": isinstance(error, ImportError)}
    return {}


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
    sys.stderr.flush()
