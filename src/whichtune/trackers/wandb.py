"""Weights & Biases, offline or online."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import UsageError

from whichtune.spec.trackers import WandbSpec
from whichtune.trackers.contract import Ending, Opening

EXIT_CODES = {"finished": 0, "unsupported": 0}
"""Exit code of a run by the trial's status; any other counts as crashed."""


class WandbTracker:
    """One run a trial; nothing of the machine, the code or the console is collected."""

    def __init__(self, spec: WandbSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.run: Any = None
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            os.environ.setdefault(name, str(folder / "wandb-cache"))
        if spec.mode == "offline":
            os.environ.setdefault("WANDB_CONFIG_DIR", str(folder / "wandb-cache"))
            os.environ["WANDB_MODE"] = "offline"
        elif not _logged_in():
            raise PermissionError("no login; run `wandb login`, set WANDB_API_KEY, or choose `mode: offline`")

    def open(self, opening: Opening) -> None:
        """Start a new run, grouped by candidate."""
        self.run = wandb.init(
            project=self.spec.project or opening.study,
            entity=self.spec.entity,
            name=opening.run_name,
            group=opening.candidate[:128],
            tags=list(opening.tags),
            config=dict(opening.config),
            mode=self.spec.mode,
            dir=str(self.folder),
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
            ),
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Log a row; a second one of the same step is merged into the first."""
        self.run.log(dict(figures), step=step)

    def end(self, ending: Ending) -> None:
        """Write the summary and finish the run."""
        self.run.summary.update({"status": ending.status, **ending.figures})
        self.run.finish(exit_code=EXIT_CODES.get(ending.status, 1))
        self.run = None


def _logged_in() -> bool:
    """Ask the library for credentials it already has; there is no keyboard to ask at."""
    try:
        return bool(wandb.login())
    except UsageError:
        return False
