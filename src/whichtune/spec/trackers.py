"""Where figures go beside the records: TensorBoard, Weights & Biases, MLflow, Trackio."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, field_validator

from whichtune.spec.base import Spec

RUN_NAME_WORDS = ("study", "candidate", "method", "kind", "backbone", "seed", "id")
"""What a run's name can be put together from."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]


class TrackerBase(Spec):
    """What every tracker may say."""

    folder: Path | None = None
    """Where its files go; `trackers/<name>` in the study's folder when left out."""
    run_name: str = Field(default="{candidate} seed {seed}", min_length=1, max_length=200)
    """Name of a trial's run, put together from `{study}`, `{candidate}`, `{method}`, `{kind}`, `{backbone}`, `{seed}`
    and `{id}`."""
    tags: tuple[Tag, ...] = ()
    """Words put on every run."""
    every: int = Field(default=1, ge=1)
    """Optimizer steps between tracked ones; the first and the last step are always tracked."""

    @field_validator("run_name")
    @classmethod
    def _run_name_is_known(cls, run_name: str) -> str:
        allowed = ", ".join(f"{{{word}}}" for word in RUN_NAME_WORDS)
        try:
            found = [(word, form, how) for _, word, form, how in Formatter().parse(run_name) if word is not None]
        except ValueError as error:
            raise ValueError(f"braces do not close; allowed: {allowed}") from error
        for word, form, how in found:
            if word not in RUN_NAME_WORDS or form or how:
                raise ValueError(f"'{{{word}}}' is nothing a run is named by; allowed: {allowed}")
        return run_name


class TensorBoardSpec(TrackerBase):
    """Event files for TensorBoard, a folder a run."""

    kind: Literal["tensorboard"]


class WandbSpec(TrackerBase):
    """Weights & Biases; offline unless asked otherwise."""

    kind: Literal["wandb"]
    mode: Literal["offline", "online"] = "offline"
    """`offline` writes into the folder without network or login (`wandb sync` uploads it later); `online` uploads."""
    project: str | None = Field(default=None, min_length=1, max_length=128)
    """Project; the study's name when left out."""
    entity: str | None = Field(default=None, min_length=1)
    """User or team that owns the project; your default one when left out."""


class MlflowSpec(TrackerBase):
    """MLflow: a SQLite store in the folder, or a tracking server."""

    kind: Literal["mlflow"]
    tracking_uri: str | None = Field(default=None, min_length=1, examples=["http://localhost:5000"])
    """Where runs are stored; `mlflow.db` in the folder when left out."""
    experiment: str | None = Field(default=None, min_length=1)
    """Experiment; the study's name when left out."""


class TrackioSpec(TrackerBase):
    """Trackio: a SQLite file in the folder; nothing is sent anywhere."""

    kind: Literal["trackio"]
    project: str | None = Field(default=None, min_length=1, max_length=128)
    """Project; the study's name when left out."""


TrackerSpec = Annotated[TensorBoardSpec | WandbSpec | MlflowSpec | TrackioSpec, Field(discriminator="kind")]
