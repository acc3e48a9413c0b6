"""Where things stand in a study's folder, and how records are written and read.

runs/<study>/
  study.yaml                resolved spec and the decisions taken by measurement
  plan.json                 the trials the study asks for now, by id
  search.json               what the search of each candidate chose, and from what
  examples.parquet          the examples once: id, split, text, gold
  trials/<id>/              trial.json, curve.jsonl, predictions.parquet, adapter/, retention-<id>.parquet
  probes/<id>.json          cost alone of a candidate
  retention.json            what forgetting is measured on
  retention/<id>.parquet    one measure of one untouched backbone, row by row
  costs/<worker>.jsonl      what trials share: load, encode, checking
  report/                   rebuilt from the above at any time
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from whichtune.errors import RecordError
from whichtune.fetch.atomic import write_text
from whichtune.records.retention import MeasuredTexts
from whichtune.records.search import SearchLog
from whichtune.records.trial import Probe, Role, TrialRecord

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Plan:
    """The trials a study asks for: how many final ones in all, and the ids of those known so far."""

    total: int
    trials: tuple[str, ...]
    """Search trials too."""
    complete: bool = True
    """Nothing more will be asked for; False while results may still ask for more trials."""


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial."""

    path: Path

    @property
    def record(self) -> Path:
        """`trial.json`."""
        return self.path / "trial.json"

    @property
    def curve(self) -> Path:
        """Step, loss, learning rate and gradient norm, a line each; validations too."""
        return self.path / "curve.jsonl"

    @property
    def predictions(self) -> Path:
        """One row an example and split."""
        return self.path / "predictions.parquet"

    @property
    def adapter(self) -> Path:
        """What the method trained and how to put it back."""
        return self.path / "adapter"

    def retention(self, identifier: str) -> Path:
        """What the tuned model made of each row of a measure of forgetting."""
        return self.path / f"retention-{identifier}.parquet"

    def read(self) -> TrialRecord:
        """Read the record, or say why it cannot be read."""
        return _read_model(self.record, TrialRecord)

    def write(self, record: TrialRecord) -> None:
        """Write the record whole; no reader sees half of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.record, record.model_dump_json(indent=1))


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved study file."""
        return self.path / "study.yaml"

    @property
    def examples(self) -> Path:
        """The examples once."""
        return self.path / "examples.parquet"

    @property
    def plan(self) -> Path:
        """The ids of the trials the study asks for now; trials of earlier settings may lie beside them."""
        return self.path / "plan.json"

    @property
    def searches(self) -> Path:
        """What the search of each candidate chose, and from what."""
        return self.path / "search.json"

    @property
    def data_report(self) -> Path:
        """What the data look like: balance, duplicates, unusable rows."""
        return self.path / "data.json"

    @property
    def report(self) -> Path:
        """Everything that is rebuilt from records."""
        return self.path / "report"

    def trial(self, trial_id: str) -> TrialFolder:
        """The folder of one trial."""
        return TrialFolder(self.path / "trials" / trial_id)

    def probe(self, probe_id: str) -> Path:
        """The file of one probe."""
        return self.path / "probes" / f"{probe_id}.json"

    @property
    def retention_texts(self) -> Path:
        """What the measures of forgetting are taken on."""
        return self.path / "retention.json"

    def retention(self, identifier: str) -> Path:
        """What an untouched backbone made of each row of a measure of forgetting."""
        return self.path / "retention" / f"{identifier}.parquet"

    def costs(self, worker: str) -> Path:
        """The shared costs one worker wrote."""
        return self.path / "costs" / f"{worker}.jsonl"

    def read_trials(self, role: Role = "final") -> list[TrialRecord]:
        """Read the study's trials in the order of its plan, or every trial, oldest first, where there is no plan.

        Trials of a search are left out unless asked for; they make no test predictions. A folder without a record (cut
        short at birth) is passed over.
        """
        return [record for record in self._read_all() if record.role == role]

    def read_searches(self) -> SearchLog | None:
        """Read what searches chose; None where there was none."""
        return _read_model(self.searches, SearchLog) if self.searches.is_file() else None

    def _read_all(self) -> list[TrialRecord]:
        found = [TrialFolder(path.parent).read() for path in sorted(self.path.glob("trials/*/trial.json"))]
        planned = self.read_plan()
        if planned is None:
            return sorted(found, key=lambda record: (record.started_at, record.id))
        places = {trial: place for place, trial in enumerate(planned.trials)}
        return sorted((record for record in found if record.id in places), key=lambda record: places[record.id])

    def count_outside(self) -> int:
        """Count the trials on disk that the study as it stands now does not ask for."""
        planned = self.read_plan()
        found = {path.parent.name for path in self.path.glob("trials/*/trial.json")}
        return 0 if planned is None else len(found - set(planned.trials))

    def read_plan(self) -> Plan | None:
        """Read which trials the study asks for now; None before its first run."""
        if not self.plan.is_file():
            return None
        try:
            held = json.loads(self.plan.read_text(encoding="utf-8"))
            trials = tuple(trial["id"] for trial in held["trials"])
            return Plan(held["total"], trials, held.get("complete", True))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.plan}: not a readable plan", remedy="run the study again") from error

    def read_retention_texts(self) -> MeasuredTexts:
        """Read what the measures of forgetting are taken on; nothing where there are none."""
        there = self.retention_texts.is_file()
        return _read_model(self.retention_texts, MeasuredTexts) if there else MeasuredTexts()

    def read_probes(self) -> dict[str, Probe]:
        """Read every probe by its id."""
        probes = [_read_model(path, Probe) for path in sorted(self.path.glob("probes/*.json"))]
        return {probe.id: probe for probe in probes}

    def read_costs(self) -> Iterator[dict[str, Any]]:
        """Read what trials shared, a mapping a line."""
        for path in sorted(self.path.glob("costs/*.jsonl")):
            yield from read_lines(path)


def find_study(path: Path) -> StudyFolder:
    """Return the study in a folder, or say what was looked for."""
    folder = StudyFolder(path)
    if not folder.spec.is_file():
        raise RecordError(
            f"{path}: no study here",
            allowed="a folder with study.yaml",
            remedy="`whichtune list` shows the studies under runs/",
        )
    return folder


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a JSON-lines file; a line cut short by a kill is passed over.

    Such a line stands last, or inside where a later run went on writing behind it. Lines end at a line feed alone:
    a text may hold any other separator that Unicode knows.
    """
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _read_model(path: Path, kind: type[Model]) -> Model:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such record", remedy="`whichtune list` shows what there is") from error
    except (ValidationError, UnicodeDecodeError) as error:
        remedy = "move the file away and run the study again"
        raise RecordError(f"{path}: not a readable record ({_first_fault(error)})", remedy=remedy) from error


def _first_fault(error: ValidationError | UnicodeDecodeError) -> str:
    """Say on one line what is wrong first; the rest follows from it more often than not."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text at byte {error.start}"
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
