"""Run a study: read the data, run what is not finished, prove adapters, probe costs. The same command resumes it."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from whichtune.data.examples import DataReport, DataSet
from whichtune.data.load import load_data
from whichtune.data.storing import write_examples
from whichtune.engine.fit import Listener
from whichtune.engine.optimizing import warm_up_optimizer
from whichtune.errors import ReadingError, RecordError, TrialError
from whichtune.fetch.atomic import write_text
from whichtune.fetch.locks import LockedError, hold_lock
from whichtune.measure.device import describe_device, pick_device, set_threads
from whichtune.measure.environment import read_versions
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.spec.digest import digest
from whichtune.spec.read import load_stored_study
from whichtune.spec.study import StudySpec
from whichtune.spec.write import dump_study
from whichtune.study.execute import Desk, execute, rehearse
from whichtune.study.plan import (
    Fingerprints,
    Planned,
    family_of,
    identity_of,
    name_load,
    plan_study,
    probe_id,
    require_distinct,
    trial_id,
)
from whichtune.study.prompters import fingerprint_prompts
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.subprocesses import Checker, run_probe
from whichtune.tasks import build_task
from whichtune.trackers.crew import Crew, tracking


class Watcher(Listener, Protocol):
    """Told how the study goes on; a progress display or plain lines."""

    def on_data(self, report: DataReport) -> None:
        """The data are read."""
        ...

    def on_trial(self, planned: Planned, place: int, total: int) -> None:
        """A trial starts, or was found finished."""
        ...

    def on_trial_end(self, record: TrialRecord, *, found: bool) -> None:
        """A trial is over; `found` says that an earlier run had finished it."""
        ...

    def on_note(self, text: str) -> None:
        """Something else to say."""
        ...


@dataclass
class StudyOutcome:
    """How a study ended."""

    folder: StudyFolder
    records: list[TrialRecord] = field(default_factory=list)
    probe_failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that did not finish; one that makes no sense on its backbone is an answer, not a failure."""
        return [record for record in self.records if record.status not in ("finished", "unsupported")]

    @property
    def exit_code(self) -> int:
        """0 when every trial finished, else 1."""
        return 1 if self.failed else 0


def run_study(study: StudySpec, root: Path, watcher: Watcher, *, scale: str | None = None) -> StudyOutcome:
    """Run every trial of a study that is not finished yet, under `root/<name>` or `root/<name>-<scale>`."""
    pick_device(study.execution.device)  # refused before a folder is made
    folder = StudyFolder(root / (study.name if scale is None else f"{study.name}-{scale}"))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = f"{folder.path}: the study's folder cannot be made ({error.strerror})"
        raise RecordError(told, remedy="choose another place with `--runs`") from error
    tracked = tracking(study.trackers, folder.path, watcher.on_note)
    with alone_in(folder), stopping_on_signals(), tracked as crew:
        return _run(study, folder, watcher, crew)


@contextmanager
def alone_in(folder: StudyFolder) -> Generator[None]:
    """Refuse to run a study that another process is running."""
    try:
        with hold_lock(folder.path / ".lock"):
            yield
    except LockedError as error:
        raise RecordError(
            f"{folder.path}: another process is running this study", remedy="wait for it or stop it"
        ) from error


@contextmanager
def stopping_on_signals() -> Generator[None]:
    """Let `kill` stop a study as Ctrl-C does: between two writes, never in the middle of one."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(study: StudySpec, folder: StudyFolder, watcher: Watcher, crew: Crew) -> StudyOutcome:
    device = pick_device(_decide_device(study, folder))
    threads = _decide_threads(study, folder)
    set_threads(threads)
    ledger = Ledger(folder.costs("main"))
    data = _read_data(study, folder, ledger, watcher)
    write_text(folder.spec, dump_study(study, {"device": str(device), "threads": threads}))
    with ledger.spending("warm-up"):
        warm_up_optimizer()
    shared = Shared(study, data, build_task(study.task, data.labels, study.data.columns), device, ledger)
    checker = Checker(folder.path, str(device), threads) if study.execution.check else None
    desk = Desk(folder, shared, checker, threads, (watcher, crew), crew)
    try:
        outcome = StudyOutcome(folder, list(_trials(desk, watcher)))
    finally:
        if checker is not None:
            checker.close()
    shared.drop()
    if study.measure.probe:
        outcome.probe_failures = _probe_all(desk, outcome.records, watcher)
    return outcome


def _decide_device(study: StudySpec, folder: StudyFolder) -> str:
    """Take the device the study asks for; `auto` is what its first run used, so that trials can be compared."""
    earlier = _decided(folder).get("device")
    return str(earlier) if study.execution.device == "auto" and earlier else study.execution.device


def _decide_threads(study: StudySpec, folder: StudyFolder) -> int:
    """Take the threads the study asks for, else those its first run used, else all cores."""
    earlier = _decided(folder).get("threads")
    return study.execution.threads or (earlier if isinstance(earlier, int) else set_threads())


def _decided(folder: StudyFolder) -> dict[str, Any]:
    """Read the decisions of the study's first run."""
    return load_stored_study(folder.spec)[1] if folder.spec.is_file() else {}


def _read_data(study: StudySpec, folder: StudyFolder, ledger: Ledger, watcher: Watcher) -> DataSet:
    with ledger.spending("read data"):
        data = load_data(study.data, study.task.answers, study.task.reads)
    write_examples(folder.examples, data)
    write_text(folder.data_report, json.dumps(dataclasses.asdict(data.report), indent=1))
    watcher.on_data(data.report)
    return data


def _trials(desk: Desk, watcher: Watcher) -> Iterator[TrialRecord]:
    """Run what is not finished, in the plan's order; the whole plan is on disk before the first trial."""
    plan = plan_study(desk.shared.study)
    identities = _identify(desk, plan)
    identifiers = [trial_id(identity) for identity in identities]
    require_distinct(plan, identifiers)
    listed = [
        {"id": identifier, "candidate": planned.candidate, "seed": planned.seed}
        for planned, identifier in zip(plan, identifiers, strict=True)
    ]
    _tell_changes(desk.folder, identifiers, watcher)
    write_text(desk.folder.plan, json.dumps({"total": len(plan), "trials": listed}, indent=1))
    for place, (planned, identity) in enumerate(zip(plan, identities, strict=True)):
        watcher.on_trial(planned, place, len(plan))
        found = _finished(desk.folder, planned, identifiers[place])
        record = found or execute(desk, planned, identity)
        watcher.on_trial_end(record, found=found is not None)
        yield record


def _tell_changes(folder: StudyFolder, identifiers: Sequence[str], watcher: Watcher) -> None:
    """Say that trials of earlier settings or data are no longer part of the study."""
    earlier = [path.parent.name for path in folder.path.glob("trials/*/trial.json")]
    left = len(set(earlier) - set(identifiers))
    if left:
        watcher.on_note(f"settings or data have changed: {left} earlier trials stay on disk but leave the comparison")


def _identify(desk: Desk, plan: Sequence[Planned]) -> list[dict[str, Any]]:
    """Load each backbone once for its fingerprints; what is wrong in the input is told before anything trains."""
    known: dict[str, tuple[str, str, str]] = {}
    rehearsed: set[str] = set()
    for planned in plan:
        if planned.candidate not in rehearsed:
            rehearsed.add(planned.candidate)
            rehearse(desk, planned)
        if planned.backbone is not None and name_load(planned) not in known:
            known[name_load(planned)] = _fingerprint(desk, planned, planned.backbone)
    weights, tokenizers, manners = ({name: own[place] for name, own in known.items()} for place in range(3))
    prompts = fingerprint_prompts(desk.shared, plan)
    fingerprints = Fingerprints(desk.shared.data.fingerprint, weights, tokenizers, prompts, manners)
    return [identity_of(planned, desk.shared.study, fingerprints) for planned in plan]


def _fingerprint(desk: Desk, planned: Planned, name: str) -> tuple[str, str, str]:
    """Fingerprint weights, reader and manners of what a trial loads; its settings stand for a model that is no use."""
    try:
        backbone = desk.shared.load(name, desk.request(planned))
    except ReadingError:
        if planned.method.reads is None:
            raise
        settings = digest(desk.shared.study.backbone(name))
        return f"unread {settings}", "", ""  # the trial will say so, as a row
    return backbone.fingerprint, backbone.reader.fingerprint, backbone.reader.manners


def _finished(folder: StudyFolder, planned: Planned, identifier: str) -> TrialRecord | None:
    """Return the record of a finished trial; names may have changed since, the outcome has not."""
    trial = folder.trial(identifier)
    if not trial.record.is_file():
        return None
    record = trial.read()
    if record.status not in ("finished", "unsupported"):
        return None
    if (record.candidate, record.method, record.backbone) != (planned.candidate, planned.method_name, planned.backbone):
        record.candidate, record.method, record.backbone = planned.candidate, planned.method_name, planned.backbone
        trial.write(record)
    return record


def _probe_all(desk: Desk, records: Sequence[TrialRecord], watcher: Watcher) -> list[str]:
    """Probe each finished candidate once, one after another, with nothing else running."""
    failures: list[str] = []
    place = describe_device(desk.shared.device, desk.threads) | {"versions": read_versions()}
    for planned, record in zip(plan_study(desk.shared.study), records, strict=True):
        if family_of(planned.method) == "baseline" or record.status != "finished":
            continue
        identifier = probe_id(planned, desk.shared.study, record.identity, place)
        if not desk.folder.probe(identifier).is_file():
            watcher.on_note(f"cost alone: {planned.candidate}")
            asked = {
                "id": identifier,
                "candidate": planned.candidate,
                "device": str(desk.shared.device),
                "threads": desk.threads,
            }
            try:
                with desk.ledger.spending("probe", planned.candidate):
                    run_probe(desk.folder.path, asked)
            except TrialError as error:
                failures.append(str(error))
                record.unmeasured["probe"] = str(error)
                desk.folder.trial(record.id).write(record)
                watcher.on_note(str(error))
                continue
        _name_probe(desk.folder, record, identifier)
    return failures


def _name_probe(folder: StudyFolder, record: TrialRecord, identifier: str) -> None:
    if record.probe != identifier:
        record.probe = identifier
        record.unmeasured.pop("probe", None)
        folder.trial(record.id).write(record)
