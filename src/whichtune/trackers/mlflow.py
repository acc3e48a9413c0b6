"""MLflow: a SQLite store in the study's folder, or a tracking server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when the library is imported
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from whichtune.spec.trackers import MlflowSpec
from whichtune.trackers.contract import Ending, Opening

HELD_SECONDS = 1.0
"""Metrics are written together, this often: each write is a transaction."""
HELD_METRICS = 900
"""Metrics in one write at most; the library takes up to 1000."""
LONGEST_VALUE = 6000
"""Characters of a parameter's value that the store takes."""
STATUSES = {"finished": "FINISHED", "unsupported": "FINISHED", "interrupted": "KILLED"}


class MlflowTracker:
    """One run a trial in one experiment; parameters, metrics by step and final figures."""

    def __init__(self, spec: MlflowSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.client: MlflowClient | None = None
        self.run_id = ""
        self.held: list[Metric] = []
        self.wrote = 0.0

    def open(self, opening: Opening) -> None:
        """Create a run, and the experiment where it is new."""
        if self.client is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            store = f"sqlite:///{self.folder / 'mlflow.db'}"
            self.client = MlflowClient(tracking_uri=self.spec.tracking_uri or store)
        tags = {"candidate": opening.candidate, "trial": opening.id} | dict.fromkeys(opening.tags, "true")
        experiment = self._experiment(self.client, self.spec.experiment or opening.study)
        self.run_id = self.client.create_run(experiment, run_name=opening.run_name, tags=tags).info.run_id
        self.held, self.wrote = [], time.monotonic()
        params = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in opening.config.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[start : start + 100])

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Hold metrics back until a write is due."""
        now = int(time.time() * 1000)
        self.held += [Metric(name, value, now, step) for name, value in figures.items()]
        if time.monotonic() - self.wrote > HELD_SECONDS or len(self.held) > HELD_METRICS - 100:
            self._write()

    def end(self, ending: Ending) -> None:
        """Write what is held, the final figures and the status."""
        assert self.client is not None  # noqa: S101 - opened first
        self.log(ending.step, ending.figures)
        self._write()
        self.client.log_batch(self.run_id, tags=[RunTag("status", ending.status)])
        self.client.set_terminated(self.run_id, STATUSES.get(ending.status, "FAILED"))

    def _experiment(self, client: MlflowClient, name: str) -> str:
        known = client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        artifacts = None if self.spec.tracking_uri else (self.folder / "artifacts").as_uri()
        return client.create_experiment(name, artifact_location=artifacts)

    def _write(self) -> None:
        assert self.client is not None  # noqa: S101
        for start in range(0, len(self.held), HELD_METRICS):
            self.client.log_batch(self.run_id, metrics=self.held[start : start + HELD_METRICS])
        self.held, self.wrote = [], time.monotonic()
