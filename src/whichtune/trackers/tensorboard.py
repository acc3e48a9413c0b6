"""TensorBoard: event files through torch's own writer, a folder a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from whichtune.spec.trackers import TensorBoardSpec
from whichtune.trackers.contract import Ending, Opening


class TensorBoardTracker:
    """Scalars by step, and the settings with their final scores for the HParams tab."""

    def __init__(self, spec: TensorBoardSpec, folder: Path) -> None:
        self.folder = folder
        self.opening: Opening | None = None
        self.writer: SummaryWriter | None = None

    def open(self, opening: Opening) -> None:
        """Start a folder of its own, beside that of an earlier attempt."""
        self.opening = opening
        self.writer = SummaryWriter(str(_fresh(self.folder, opening.run_name)))
        if opening.tags:
            self.writer.add_text("tags", ", ".join(opening.tags))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Write scalars."""
        assert self.writer is not None  # noqa: S101 - opened first
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def end(self, ending: Ending) -> None:
        """Write final figures as scalars of the last step and as HParams metrics."""
        assert self.writer is not None  # noqa: S101
        assert self.opening is not None  # noqa: S101
        self.writer.add_text("status", ending.status)
        settings = {name: value for name, value in self.opening.config.items() if value is not None}
        self.writer.add_hparams(settings, dict(ending.figures), run_name=".", global_step=ending.step)
        self.writer.close()
        self.writer = None


def _fresh(folder: Path, name: str) -> Path:
    """Return a folder that does not exist yet; brackets would be patterns to some readers of event files."""
    plain = re.sub(r"[^\w.@=-]+", "_", name).strip("._") or "run"
    tried, path = 1, folder / plain
    while path.exists():
        tried += 1
        path = folder / f"{plain}-{tried}"
    return path
