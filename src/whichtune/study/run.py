"""Run a study: read the data, run what is not finished, prove adapters, probe costs. The same command resumes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whichtune.data.chains import require_sizes
from whichtune.data.examples import DataSet
from whichtune.data.load import load_data
from whichtune.data.storing import write_examples
from whichtune.engine.optimizing import warm_up_optimizer
from whichtune.errors import DoesNotFitError, NonFiniteError, ReadingError, RecordError
from whichtune.fetch.atomic import write_text
from whichtune.fetch.locks import LockedError, hold_lock
from whichtune.measure.device import pick_device, set_threads
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.spec.digest import digest
from whichtune.spec.read import load_stored_study
from whichtune.spec.sizes import list_sizes
from whichtune.spec.study import StudySpec
from whichtune.spec.write import dump_study
from whichtune.study.course import ENDED, Course
from whichtune.study.crowd import Crowd
from whichtune.study.execute import Desk, rehearse
from whichtune.study.hands import Hands, OwnHands
from whichtune.study.pace import Open, Pace, count_trainings, measure, require_cores, settle
from whichtune.study.plan import Fingerprints, Planned, name_load, plan_study
from whichtune.study.probes import Probes
from whichtune.study.prompters import fingerprint_prompts
from whichtune.study.retaining import open_retention
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.signals import stopping_on_signals
from whichtune.study.subprocesses import Checker
from whichtune.study.watching import Watcher
from whichtune.tasks import build_task
from whichtune.trackers.crew import Crew, tracking

ANSWERS = {NonFiniteError.__name__, DoesNotFitError.__name__}
"""What a search trial may end with as an answer."""


@dataclass
class StudyOutcome:
    """How a study ended."""

    folder: StudyFolder
    records: list[TrialRecord] = field(default_factory=list)
    """Of the final trials, and of those of sizes."""
    searched: list[TrialRecord] = field(default_factory=list)
    """Of the trials that chose settings."""
    probe_failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that did not finish; one that makes no sense on its backbone is an answer, not a failure.

        Nor is a search trial whose loss stopped being a number, or that did not fit: it says what not to choose.
        """
        told = [one for one in self.searched if one.failure is None or one.failure.kind not in ANSWERS]
        return [record for record in [*self.records, *told] if record.status not in ENDED]

    @property
    def exit_code(self) -> int:
        """0 when every trial finished, else 1."""
        return 1 if self.failed else 0


def run_study(study: StudySpec, root: Path, watcher: Watcher, *, scale: str | None = None) -> StudyOutcome:
    """Run every trial of a study that is not finished yet, under `root/<name>` or `root/<name>-<scale>`."""
    pick_device(study.execution.device)  # refused before a folder is made
    require_cores(study.execution)
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


def _run(study: StudySpec, folder: StudyFolder, watcher: Watcher, crew: Crew) -> StudyOutcome:
    earlier = read_decisions(folder)
    device = pick_device(_decide_device(study, earlier))
    set_threads(study.execution.threads or earlier.get("threads"))
    ledger = Ledger(folder.costs("main"))
    data = _read_data(study, folder, ledger, watcher)
    require_sizes(list_sizes(study.sizes), data)
    with ledger.spending("warm-up"):
        warm_up_optimizer()
    shared = Shared(study, data, build_task(study.task, data.labels, study.data.columns), device, ledger)
    desk = Desk(folder, shared, None, 1, (watcher, crew), crew)
    with ExitStack() as stack:
        known, hands = _prepare(desk, earlier, watcher, stack)
        probes = Probes(desk, watcher.on_note)
        retention = open_retention(desk, known, watcher.on_note)
        course = Course(desk, known, watcher, probes.take, hands)
        tried: list[TrialRecord] = []
        for record in course.run():
            tried.append(record)
            retention.take(*course.ended[-1])
    searched = [one for one in tried if one.role == "search"]
    outcome = StudyOutcome(folder, [one for one in tried if one.role != "search"], searched)
    probes.take(course.ended)
    outcome.probe_failures = list(probes.failed.values())
    return outcome


def _prepare(desk: Desk, earlier: Mapping[str, Any], watcher: Watcher, stack: ExitStack) -> tuple[Fingerprints, Hands]:
    """See that the input is right and decide how trials run; return what runs them, which ends with the stack."""
    study, folder, device = desk.shared.study, desk.folder, desk.shared.device

    def hire(own: Desk) -> Crowd:
        """Make several workers ready to be started."""
        crowd = Crowd(own, watcher)
        stack.callback(crowd.close)
        return crowd

    pace, hands = settle(desk, earlier), None
    held = {name: earlier[name] for name in ("threads",) if name in earlier}
    write_text(folder.spec, dump_study(study, {"device": str(device), **getattr(pace, "decisions", held)}))
    if isinstance(pace, Pace) and pace.workers > 1:
        hands = hire(replace(desk, threads=pace.threads, workers=pace.workers))
        if not earlier:  # all is still to be done: they load their libraries while this process looks at the input
            hands.begin(count_trainings(desk))
    known = _fingerprint_all(desk)
    if isinstance(pace, Open):
        watcher.on_note("workers: timing a few steps, in one process and in several")
        with desk.ledger.spending("decide workers"):
            pace, hands = measure(desk, pace, hire)
    if pace.why:
        watcher.on_note(f"workers: {pace.workers} ({pace.why})")
    write_text(folder.spec, dump_study(study, {"device": str(device), **pace.decisions}))
    desk.threads, desk.workers = set_threads(pace.threads), pace.workers
    if hands is not None:
        desk.shared.drop()
        return known, hands
    if study.execution.check:
        desk.checker = Checker(folder.path, str(device), desk.threads)
        stack.callback(desk.checker.close)
    return known, OwnHands(desk, watcher)


def _decide_device(study: StudySpec, earlier: Mapping[str, Any]) -> str:
    """Take the device the study asks for; `auto` is what its first run used, so that trials can be compared."""
    known = earlier.get("device")
    return str(known) if study.execution.device == "auto" and known else study.execution.device


def read_decisions(folder: StudyFolder) -> dict[str, Any]:
    """Read the decisions of the study's first run."""
    return load_stored_study(folder.spec)[1] if folder.spec.is_file() else {}


def _read_data(study: StudySpec, folder: StudyFolder, ledger: Ledger, watcher: Watcher) -> DataSet:
    with ledger.spending("read data"):
        data = load_data(study.data, study.task.answers, study.task.reads)
    write_examples(folder.examples, data)
    write_text(folder.data_report, json.dumps(dataclasses.asdict(data.report), indent=1))
    watcher.on_data(data.report)
    return data


def _fingerprint_all(desk: Desk) -> Fingerprints:
    """Load each backbone once for its fingerprints; what is wrong in the input is told before anything trains."""
    plan = plan_study(desk.shared.study)
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
    return Fingerprints(desk.shared.data.fingerprint, weights, tokenizers, prompts, manners)


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
