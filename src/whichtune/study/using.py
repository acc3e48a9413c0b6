"""A finished trial on new rows: what it was trained to do, its answers, and how good they are."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from whichtune.data.reading import Reading
from whichtune.engine.adapter import AdapterCard, load_card
from whichtune.engine.using import Manner, Predictor, open_predictor
from whichtune.errors import RecordError
from whichtune.measure.device import pick_device, set_threads
from whichtune.records.folder import TrialFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores, TrialRecord
from whichtune.spec.read import load_stored_study
from whichtune.spec.sources import Columns, DataSpec, FilesSource
from whichtune.stats.intervals import estimate_single
from whichtune.stats.samples import collect_sample
from whichtune.study.new_rows import NewRows


@dataclass(frozen=True)
class Trained:
    """A finished trial with what its study says about rows."""

    folder: TrialFolder
    record: TrialRecord
    card: AdapterCard
    data: DataSpec | None
    """The study's data, where the trial still lies in its study's folder."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it knows, in order."""
        return self.card.labels

    @property
    def reads_two(self) -> bool:
        """Whether it reads two texts a row."""
        return self.card.task.texts == 2

    @property
    def columns(self) -> Columns:
        """Which column held what in training."""
        return Columns() if self.data is None else self.data.columns

    @property
    def reading(self) -> Reading:
        """How files are read: with a header unless the study's own had none."""
        source = None if self.data is None else self.data.source
        return Reading(header=source.header if isinstance(source, FilesSource) else True)


class MetricFigure(BaseModel):
    """One metric with its interval of 95 %; None where there is none."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    direction: str
    unit: str


class Evaluation(BaseModel):
    """How good a finished trial is on labelled rows."""

    trial: str
    candidate: str
    data: str
    rows: int
    """Rows scored."""
    left_out: dict[str, int]
    """Reason to rows that were not."""
    cut: int
    """Rows cut to the trial's `max_length`."""
    merged: bool
    metrics: list[MetricFigure]
    scores: SplitScores


def open_trained(folder: TrialFolder) -> Trained:
    """Read a trial that can be used, or say why it cannot."""
    record = folder.read()
    if record.baseline:
        remedy = "choose a trial with a model"
        raise RecordError(f"{record.id}: `{record.kind}` is a baseline and has no model to load", remedy=remedy)
    if record.status != "finished":
        why = "" if record.failure is None else f" ({record.failure.message})"
        raise RecordError(f"{record.id}: the trial is {record.status}{why}", remedy="run its study again")
    study = folder.path.resolve().parents[1] / "study.yaml"
    data = load_stored_study(study)[0].data if study.is_file() else None
    return Trained(folder, record, load_card(folder.adapter), data)


@contextmanager
def using(
    trained: Trained, *, device: str = "auto", threads: int | None = None, batch: int | None = None
) -> Generator[Predictor]:
    """Put a trial's model together as it was when the trial predicted."""
    where = pick_device(device)
    set_threads(threads)
    own = trained.record.device
    manner = Manner(
        device=where,
        batch=batch or int(own.get("evaluation_batch", 64)),
        precision=str((trained.record.training or {}).get("precision", "float32")),
        attention=str(own.get("attention", "sdpa")),
    )
    with open_predictor(trained.folder.adapter, manner) as predictor:
        yield predictor


def score_rows(trained: Trained, predictor: Predictor, rows: NewRows, path: Path) -> tuple[Evaluation, Predictions]:
    """Answer labelled rows and compute every metric, with intervals over rows."""
    answers, encoded = predictor.answer(rows.usable)
    scores = predictor.task.evaluate(answers)
    evaluation = Evaluation(
        trial=trained.record.id,
        candidate=trained.record.candidate,
        data=str(path),
        rows=len(answers.ids),
        left_out=rows.left_out,
        cut=encoded.cut,
        merged=predictor.merged,
        metrics=list(measure_all(trained.record.candidate, answers, scores)),
        scores=scores,
    )
    return evaluation, answers


def measure_all(name: str, answers: Predictions, scores: SplitScores) -> Generator[MetricFigure]:
    """Yield every metric with the interval of one trained model: rows are random, the training is fixed."""
    places = [str(place) for place in range(len(answers.ids))]
    distinct = replace(answers, ids=places)
    for one in scores.metrics:
        figure = MetricFigure(name=one.name, value=one.value, direction=one.direction, unit=one.unit)
        sample = None if one.value is None else collect_sample(name, [distinct], answers.labels, one.name)
        if sample is not None:
            low, high = estimate_single(sample).interval()
            figure.low, figure.high = (low, high) if one.direction == "higher" else (-high, -low)
        yield figure
