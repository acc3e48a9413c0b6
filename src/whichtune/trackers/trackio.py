"""Trackio: a SQLite file in the study's folder; no server, no hub."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whichtune.spec.trackers import TrackioSpec
from whichtune.trackers.contract import Ending, Opening

REMOTE = (
    "TRACKIO_SPACE_ID",
    "TRACKIO_SERVER_URL",
    "TRACKIO_DATASET_ID",
    "TRACKIO_BUCKET_ID",
    "TRACKIO_WEBHOOK_URL",
)
"""Variables by which the library would send figures elsewhere."""


class TrackioTracker:
    """One run a trial, final figures as its last row.

    The library turns its own failures into warnings and drops the data, in a thread; warnings are therefore collected
    and raised.
    """

    def __init__(self, spec: TrackioSpec, folder: Path) -> None:
        self.spec = spec
        for name in REMOTE:
            os.environ.pop(name, None)
        os.environ["TRACKIO_DIR"] = str(folder)  # read when the library is imported
        folder.mkdir(parents=True, exist_ok=True)
        self.library: Any = importlib.import_module("trackio")
        self.run: Any = None
        self.complaints: list[str] = []
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = self._hear

    def open(self, opening: Opening) -> None:
        """Start a new run, grouped by candidate."""
        self.complaints.clear()
        self.run = self.library.init(
            project=self.spec.project or opening.study,
            name=opening.run_name,
            group=opening.candidate,
            config={**opening.config, "tags": ", ".join(opening.tags)},
            resume="never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._complain()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Log a row."""
        self.run.log(dict(figures), step=step)
        self._complain()

    def end(self, ending: Ending) -> None:
        """Log the final figures and wait until everything is written."""
        self.run.log({"status": ending.status, **ending.figures}, step=ending.step)
        self.library.finish()
        self.run = None
        self._complain()

    def _hear(self, message: Warning | str, category: type[Warning], filename: str, *rest: object) -> None:
        if "trackio" in Path(filename).parts:
            self.complaints.append(str(message))

    def _complain(self) -> None:
        if self.complaints:
            raise RuntimeError(self.complaints.pop(0))
