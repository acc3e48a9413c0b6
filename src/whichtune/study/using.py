"""A finished trial on new rows: what it was trained to do, its answers, and how good they are."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from whichtune.data.reading import Reading
from whichtune.engine.adapter import load_card
from whichtune.engine.using import Answerer, Manner, open_predictor
from whichtune.errors import RecordError
from whichtune.measure.device import pick_device, set_threads
from whichtune.records.folder import StudyFolder, TrialFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import SplitScores, TrialRecord
from whichtune.spec.read import load_stored_study
from whichtune.spec.sources import Columns, DataSpec, FilesSource
from whichtune.spec.tasks import LanguageTaskBase, TaskSpec
from whichtune.stats.intervals import estimate_single
from whichtune.stats.samples import collect_sample
from whichtune.study.new_rows import NewRows
from whichtune.study.prompted import PrompterFiles, open_prompted, read_prompter


@dataclass(frozen=True)
class Trained:
    """A finished trial with what its study says about rows."""

    folder: TrialFolder
    record: TrialRecord
    task: TaskSpec
    labels: tuple[str, ...]
    """The labels it knows, in order; none where its answers are texts."""
    columns: Columns
    """Which column held what in training."""
    data: DataSpec | None
    """The study's data, where the trial still lies in its study's folder."""
    prompter: PrompterFiles | None = None
    """What a prompter's trial needs, which has no adapter of its own."""

    @property
    def reads_two(self) -> bool:
        """Whether it reads two texts a row."""
        return self.task.texts == 2 or (self.task.texts is None and self.columns.pair is not None)

    @property
    def writes(self) -> bool:
        """Whether it answers in words."""
        return isinstance(self.task, LanguageTaskBase)

    @property
    def known_labels(self) -> tuple[str, ...] | None:
        """The labels that gold may be; None where it may be any text."""
        return self.labels if self.task.answers == "labels" else None

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
    study = StudyFolder(folder.path.resolve().parents[1])
    if record.known_family == "prompter":
        files = read_prompter(study, record)
        about = files.study.data
        return Trained(folder, record, files.study.task, files.data.labels, about.columns, about, files)
    data = load_stored_study(study.spec)[0].data if study.spec.is_file() else None
    card = load_card(folder.adapter)
    return Trained(folder, record, card.task, card.labels, card.columns if data is None else data.columns, data)


@contextmanager
def using(
    trained: Trained, *, device: str = "auto", threads: int | None = None, batch: int | None = None
) -> Generator[Answerer]:
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
    if trained.prompter is not None:
        yield open_prompted(trained.prompter, trained.record, manner)
        return
    with open_predictor(trained.folder.adapter, manner) as predictor:
        yield predictor


def score_rows(trained: Trained, predictor: Answerer, rows: NewRows, path: Path) -> tuple[Evaluation, Predictions]:
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
            figure.low, figure.high = (-high, -low) if one.direction == "lower" else (low, high)
        yield figure
