"""A finished trial of a prompter at work: the untouched model, asked about new rows as it was asked in its study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from whichtune.data.examples import DataSet, Example
from whichtune.data.storing import read_examples
from whichtune.engine.build import request_load
from whichtune.engine.prompting import PrompterTrial
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import Material
from whichtune.engine.using import NEW, Answerer, Manner, Predictor
from whichtune.errors import AdapterError, RecordError
from whichtune.measure.device import mkl_lags
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded
from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions
from whichtune.records.trial import TrialRecord
from whichtune.spec.methods import MethodSpec
from whichtune.spec.read import load_stored_study
from whichtune.spec.sources import Columns
from whichtune.spec.study import StudySpec
from whichtune.spec.tasks import TaskSpec
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.study.plan import Planned
from whichtune.study.prompters import make_matcher, make_prompter
from whichtune.study.sharing import Ledger, Shared
from whichtune.tasks import build_task
from whichtune.tasks.asking import Asking
from whichtune.tasks.contract import Task


@dataclass(frozen=True)
class PrompterFiles:
    """What is left of a prompter's trial: nothing was trained, so all of it stands in its study's folder."""

    study: StudySpec
    """With the trial's own task and columns, whatever the study's file says by now."""
    data: DataSet
    """Its training rows stand in prompts as examples."""


def read_prompter(folder: StudyFolder, record: TrialRecord) -> PrompterFiles:
    """Read the study of a prompter's trial, or say why the trial cannot be asked again."""
    remedy = "run its study again; `whichtune prompt` asks a model without any study"
    if not folder.spec.is_file() or not folder.examples.is_file():
        raise RecordError(f"{record.id}: `{record.kind}` trained nothing, and its study is not there", remedy=remedy)
    study, data = load_stored_study(folder.spec)[0], read_examples(folder.examples)
    if data.fingerprint != record.fingerprints.get("data") or record.backbone not in study.backbones:
        raise RecordError(f"{record.id}: the study's data or backbones are not those of the trial", remedy=remedy)
    task = TypeAdapter[TaskSpec](TaskSpec).validate_python(record.identity["task"])
    own = record.identity.get("columns")  # their names stand in prompts; class names are compared without them
    columns = study.data.columns if own is None else Columns.model_validate(own)
    about = study.data.model_copy(update={"columns": columns})
    training = study.training.model_copy(update={"precision": record.identity["precision"]})
    return PrompterFiles(study.model_copy(update={"task": task, "data": about, "training": training}), data)


@dataclass(frozen=True)
class Prompted:
    """A model ready to be asked; the rows that stand in a prompt are those of the trial."""

    shared: Shared
    planned: Planned
    request: LoadRequest
    merged: bool = field(default=False, init=False)

    @property
    def task(self) -> Task:
        """What is predicted from what."""
        return self.shared.task

    @property
    def speaker(self) -> Speaker:
        """The model as one that writes."""
        return self._trial(()).speaker

    @property
    def asking(self) -> Asking:
        """How it is asked."""
        return self._trial(()).asking

    def encode(self, examples: Sequence[Example]) -> Encoded:
        """Return the prompts of rows as token ids."""
        return self._trial(examples).encode("test")

    def answer(self, examples: Sequence[Example]) -> tuple[Predictions, Encoded]:
        """Ask about rows, in their order; also return their prompts as token ids."""
        trial = self._trial(examples)
        encoded = trial.encode("test")
        table = trial.ask("test", encoded)
        table.split = NEW
        return table, encoded

    def _trial(self, examples: Sequence[Example]) -> PrompterTrial:
        """Make the trial anew with these rows to be asked about: the nearest examples of each are found then."""
        splits = {"train": self.shared.data.examples["train"], "validation": (), "test": tuple(examples)}
        data = replace(self.shared.data, examples=splits)
        return make_prompter(self.shared, self.planned, Material(self.shared.task, data), self.request)


def open_prompted(files: PrompterFiles, record: TrialRecord, manner: Manner) -> Answerer:
    """Load the model of a prompter's trial; the cost of it is written nowhere."""
    execution = files.study.execution.model_copy(update={"evaluation_batch": manner.batch})
    study = files.study.model_copy(update={"execution": execution})
    method = TypeAdapter[MethodSpec](MethodSpec).validate_python(record.settings)
    planned = Planned(record.candidate, record.method, method, record.backbone, record.seed, record.deterministic)
    task = build_task(study.task, files.data.labels, study.data.columns)
    shared = Shared(study, files.data, task, manner.device, Ledger(Path(os.devnull)))
    request = replace(request_load(method, manner.attention, study.task.reads), widen=mkl_lags(manner.device))
    loaded = shared.load(str(record.backbone), request).fingerprint
    asked = record.fingerprints["weights"]
    if loaded != asked:
        raise AdapterError(f"{record.id}: asked weights {asked[:12]}, and the backbone has {loaded[:12]} now")
    if isinstance(method, ZeroShotSpec):
        trial = make_matcher(shared, planned, Material(task, files.data), request)
        return Predictor(trial.assembly, task, 0, manner.batch, trial.arithmetic, merged=False)
    return Prompted(shared, planned, request)
