"""Run one planned trial and leave its record, whatever happens."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from whichtune.data.examples import DataSet
from whichtune.engine.adapter import SAMPLE_ROWS, AdapterCard, save_adapter
from whichtune.engine.assembly import Assembly
from whichtune.engine.batches import plan_steps
from whichtune.engine.build import build_assembly
from whichtune.engine.features import trains_head_alone, with_features
from whichtune.engine.fit import Listener
from whichtune.engine.guards import fitting_in_memory, require_room
from whichtune.engine.matching import MatchingTrial
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prefix_cache import Keeping, with_prefix
from whichtune.engine.trial import EVALUATED, CurveWriter, Material, Outcome, TunerTrial, run_baseline
from whichtune.engine.weighting import weigh_classes
from whichtune.engine.writing import require_words_fit
from whichtune.errors import DoesNotFitError, InputError, PrunedError, TrialError, UnsupportedError
from whichtune.fetch.cache import cache_root
from whichtune.measure.clock import PhaseClock
from whichtune.measure.device import describe_device, synchroniser
from whichtune.measure.environment import read_git, read_versions
from whichtune.measure.memory import choose_meter
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.count import count_parameters
from whichtune.records.folder import StudyFolder, TrialFolder
from whichtune.records.predictions import write_predictions
from whichtune.records.trial import Failure, Parameters, Phase, Status, TrialRecord
from whichtune.spec.method_base import TunerBase
from whichtune.spec.prompting import PromptingSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.study.noticing import keep_counts, keep_cuts, keep_switches, watch_warmup
from whichtune.study.plan import Planned, family_of, overrides_of, trial_id
from whichtune.study.prompters import make_matcher, make_prompter, naming_method
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.sizing import cut_material, training_at
from whichtune.study.subprocesses import Checker
from whichtune.tasks.contract import WrittenTask
from whichtune.trackers.crew import Crew

MANY_UNREAD = 0.5
"""Share of unread answers from which on the way of asking is to be looked at."""
KEEPING_NOTHING = {
    "adapter_bytes": "only final trials keep their adapter",
    "checked": "only final trials keep an adapter to check",
    "probe": "only final trials are probed",
}
"""What a trial of a search or of a size leaves out, and why."""


@dataclass
class Desk:
    """Everything a trial needs at hand."""

    folder: StudyFolder
    shared: Shared
    checker: Checker | None
    threads: int
    listeners: Sequence[Listener] = ()
    trackers: Crew = field(default_factory=Crew)
    workers: int = 1
    """Processes that run trials at the same time."""
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = self.shared.ledger

    def request(self, planned: Planned) -> LoadRequest:
        """How the planned method needs its backbone."""
        return self.shared.request(planned.method)

    def tell_trackers(self, tell: Callable[[TrialRecord], None], record: TrialRecord) -> None:
        """Start or end a trial of the trackers, outside its clocks."""
        if self.trackers.guards:
            with self.ledger.spending("trackers", record.id):
                tell(record)


def execute(desk: Desk, planned: Planned, identity: dict[str, Any], listeners: Sequence[Listener] = ()) -> TrialRecord:
    """Run a trial from nothing; its record says finished, or why not. Only an interrupt gets through.

    `listeners` are told of this trial beside those of the desk.
    """
    desk = replace(desk, listeners=(*desk.listeners, *listeners))
    record = begin(desk, planned, identity)
    desk.tell_trackers(desk.trackers.start, record)
    with ending(desk, planned, record, desk.trackers.end):
        material = take_material(desk, planned)
        clock = _clock(desk, record)
        try:
            with fitting_in_memory(desk.shared.device):
                RUNNERS[family_of(planned.method)](desk, planned, record, (material, clock))
        finally:
            close_clock(record, clock)
    return record


def begin(desk: Desk, planned: Planned, identity: dict[str, Any]) -> TrialRecord:
    """Clear the trial's folder and leave the record there that it starts with."""
    record = open_record(desk, planned, identity)
    folder = desk.folder.trial(record.id)
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.write(record)
    return record


@contextmanager
def ending(desk: Desk, planned: Planned, record: TrialRecord, tell: Callable[[TrialRecord], None]) -> Generator[None]:
    """Run the inside, prove the adapter, and leave a record that says finished, or why not; then tell the trackers."""
    folder = desk.folder.trial(record.id)
    try:
        yield
        if isinstance(planned.method, TunerBase) and planned.role == "final":
            _check(desk, record, folder)
        record.status = "finished"
    except Exception as error:  # a failed trial is a row with its reason; the study goes on
        _keep_failure(desk, record, error)
    record.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
    folder.write(record)  # before anything that waits: what is trained is not lost to a tracker
    desk.tell_trackers(tell, record)
    folder.write(record)


def rehearse(desk: Desk, planned: Planned) -> None:
    """Put a candidate together and take it apart again, so that wrong input is told before anything trains.

    What is not the input's fault is left to the trial, which records it as a row.
    """
    if planned.backbone is None:
        return
    material = take_material(desk, planned)
    training = desk.shared.study.training_of(planned.method)
    Arithmetic(training.precision, desk.shared.device)
    if isinstance(planned.method, ZeroShotSpec):
        with suppress(UnsupportedError), naming_method(planned):
            _ = make_matcher(desk.shared, planned, material, desk.request(planned)).assembly
        return
    if isinstance(planned.method, PromptingSpec):
        with suppress(UnsupportedError), naming_method(planned):
            trial = make_prompter(desk.shared, planned, material, desk.request(planned))
            for split in EVALUATED:
                trial.encode(split)
            require_words_fit(trial.asking, trial.speaker.backbone.encoder, material.data.examples["test"][0])
        return
    weigh_classes(training, material.task.labels, material.encoded["train"].targets)
    backbone = desk.shared.load(planned.backbone, desk.request(planned))
    try:
        streams = Streams(planned.seed, planned.method.stream)
        assembly = build_assembly(backbone, planned.method, material.task.head(), training.head_dropout, streams)
        try:
            require_room(assembly, training.max_length)
            if material.task.head().tokens:
                asking = cast(WrittenTask, material.task).asking
                require_words_fit(asking, backbone.encoder, material.data.examples["test"][0])
            if assembly.attachment.plan is not None:
                assembly.attachment.plan(plan_steps(len(material.encoded["train"]), training).total)
        finally:
            assembly.attachment.detach()
    except InputError:
        raise
    except Exception:  # the trial itself will meet it, and record it
        desk.shared.drop()


def take_material(desk: Desk, planned: Planned) -> Material:
    """Load and encode what the trial shares with others; that stands in the ledger, not in the trial."""
    if planned.backbone is None or not isinstance(planned.method, TunerBase):
        return cut_material(Material(desk.shared.task, desk.shared.data), planned, desk.shared.study.data.split)
    training = desk.shared.study.training_of(planned.method)
    whole = desk.shared.material(planned.backbone, desk.request(planned), training.max_length)
    return cut_material(whole, planned, desk.shared.study.data.split)


def open_record(desk: Desk, planned: Planned, identity: dict[str, Any]) -> TrialRecord:
    """Make the record a trial starts with."""
    study = desk.shared.study
    family = family_of(planned.method)
    fingerprints = {"data": identity["data"]}
    if planned.backbone is not None:
        fingerprints |= {"weights": identity["backbone"]["weights"], "tokenizer": identity["tokenizer"]}
    execution = study.execution
    kernel = {name: getattr(execution, name) for name in ("attention", "reuse_features")}
    kernel["evaluation_batch"] = desk.shared.evaluation_rows
    return TrialRecord(
        id=trial_id(identity),
        study=study.name,
        candidate=planned.candidate,
        method=planned.method_name,
        kind=planned.method.kind,
        backbone=planned.backbone,
        family=family,
        baseline=family == "baseline",
        role=planned.role,
        tuned=dict(planned.tuned),
        purpose=planned.purpose,
        labels=planned.labels,
        seed=planned.seed,
        deterministic=planned.deterministic,
        status="running",
        settings=planned.method.model_dump(mode="json"),
        training=None if family != "tuner" else training_at(planned, desk.shared).model_dump(mode="json"),
        overrides=overrides_of(planned.method, study),
        identity=identity,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=read_versions(),
        git=read_git(),
        device=describe_device(desk.shared.device, desk.threads) | kernel | {"workers": desk.workers},
        fingerprints=fingerprints,
    )


def _clock(desk: Desk, record: TrialRecord) -> PhaseClock:
    meter, why = choose_meter(desk.shared.device)
    if meter is None:
        record.unmeasured["phases.peak_bytes"] = str(why)
    return PhaseClock(synchronise=synchroniser(desk.shared.device), meter=meter)


def _run_baseline(desk: Desk, planned: Planned, record: TrialRecord, given: tuple[Material, PhaseClock]) -> None:
    _keep_outcome(desk, record, given[0].data, run_baseline(planned.method, *given))


def _run_prompter(desk: Desk, planned: Planned, record: TrialRecord, given: tuple[Material, PhaseClock]) -> None:
    material, clock = given
    match = isinstance(planned.method, ZeroShotSpec)
    trial = (make_matcher if match else make_prompter)(desk.shared, planned, material, desk.request(planned))
    backbone = trial.pair if isinstance(trial, MatchingTrial) else trial.speaker.backbone
    record.traps += [f"backbone: {note}" for note in backbone.notes]
    keep_switches(record, backbone)
    head = 0 if backbone.output is None else backbone.output.size
    record.parameters = Parameters(
        trunk=count_parameters(backbone.trunk), head=head, added=0, trainable=0, trainable_theory=0
    )
    _keep_outcome(desk, record, material.data, trial.run(clock))


def _run_tuner(desk: Desk, planned: Planned, record: TrialRecord, given: tuple[Material, PhaseClock]) -> None:
    method, shared, (material, clock) = planned.method, desk.shared, given
    training = training_at(planned, shared)
    backbone = load_described(desk, planned, record, material)
    with clock.phase("attach"):
        streams = Streams(planned.seed, method.stream)
        assembly = build_assembly(backbone, method, shared.task.head(), training.head_dropout, streams)
    try:
        with desk.folder.trial(record.id).curve.open("w", encoding="utf-8") as handle:
            listeners = (CurveWriter(handle), *desk.listeners)
            trial = set_up(desk, planned, record, assembly, given, listeners)
            keep_trained(desk, planned, record, trial, trial.run())
    finally:
        assembly.attachment.detach()
    require_intact(shared)


def load_described(desk: Desk, planned: Planned, record: TrialRecord, material: Material) -> Backbone:
    """Load a tuner's backbone, and write down what is noticed about it and about the rows."""
    assert planned.backbone is not None  # noqa: S101 - every tuner has one
    backbone = desk.shared.load(planned.backbone, desk.request(planned))
    keep_cuts(record, material.data, material.encoded)
    record.traps += [f"backbone: {note}" for note in backbone.notes]
    keep_switches(record, backbone)
    return backbone


def set_up(
    desk: Desk,
    planned: Planned,
    record: TrialRecord,
    assembly: Assembly,
    given: tuple[Material, PhaseClock],
    listeners: Sequence[Listener],
) -> TunerTrial:
    """Describe a tuner's model, and make the trial that trains it on rows that run no frozen block twice."""
    method, shared, (material, clock) = planned.method, desk.shared, given
    assert isinstance(method, TunerBase)  # noqa: S101 - the plan tells tuners from baselines
    training, size, engine = training_at(planned, shared), shared.evaluation_rows, shared.study.engine
    record.traps += assembly.attachment.notes
    keep_counts(record, assembly)
    watch_warmup(record, training, material)
    if shared.study.execution.reuse_features and trains_head_alone(assembly):
        with clock.phase("encode"):
            material = with_features(assembly, material, size, training.precision, cache_root())
    elif engine.reuse_prefix:
        keeping = Keeping(cache_root(), engine.prefix_bytes, size, training.precision)
        with clock.phase("encode"):
            material, record.device["prefix_blocks"] = with_prefix(assembly, material, keeping)
    return TunerTrial(assembly, material, method, training, clock, size, listeners, planned.role != "search")


def keep_trained(desk: Desk, planned: Planned, record: TrialRecord, trial: TunerTrial, outcome: Outcome) -> None:
    """Keep what a tuner's trial gave, and the adapter of a final one."""
    _keep_outcome(desk, record, trial.material.data, outcome)
    if planned.role != "final":
        record.unmeasured |= KEEPING_NOTHING
        return
    with trial.clock.phase("save"):
        record.adapter_bytes = _save(desk, planned, trial.assembly, desk.folder.trial(record.id))


def require_intact(shared: Shared) -> None:
    """Stop unless the backbone is what it was; one that is not is loaded anew."""
    if not shared.intact():
        shared.drop()
        raise TrialError("frozen tensors of the backbone are not what they were before the trial")


def _save(desk: Desk, planned: Planned, assembly: Assembly, folder: TrialFolder) -> int:
    study, data = desk.shared.study, desk.shared.data
    assert planned.backbone is not None  # noqa: S101
    training = study.training_of(planned.method)
    card = AdapterCard(
        backbone=study.backbone(planned.backbone),
        weights=assembly.backbone.fingerprint,
        method=planned.method,
        task=study.task,
        labels=data.labels,
        columns=study.data.columns,
        outputs=desk.shared.task.head().outputs,
        head_dropout=training.head_dropout,
        max_length=training.max_length,
        seed=planned.seed,
        stream=planned.method.stream,
    )
    return save_adapter(folder.adapter, assembly, card, data.examples["validation"][:SAMPLE_ROWS])


def _check(desk: Desk, record: TrialRecord, folder: TrialFolder) -> None:
    if desk.checker is None:
        record.unmeasured["checked"] = "execution.check is off"
        return
    record.checked = False
    with desk.ledger.spending("check", record.id):
        desk.checker.check(folder.adapter, str(record.backbone))
    record.checked = True


def _keep_outcome(desk: Desk, record: TrialRecord, data: DataSet, outcome: Outcome) -> None:
    task = desk.shared.task
    write_predictions(desk.folder.trial(record.id).predictions, outcome.predictions)
    record.scores = {table.split: task.evaluate(table) for table in outcome.predictions}
    record.steps, record.epochs, record.kept_step = outcome.steps, outcome.epochs, outcome.kept_step
    record.evaluated_merged, record.device["dequantized"] = outcome.merged, outcome.dequantized
    last = outcome.predictions[-1].split
    tested = record.scores[last]
    if task.labels and tested.rows > 1 and tested.predicted_labels == 1 and not record.baseline:
        learned = ": it has not learned" if record.family == "tuner" else ""
        record.traps.append(f"predicts one class for every {last} example{learned}")
    if tested.unparsed_share > MANY_UNREAD and not record.baseline:
        record.traps.append("most of its answers could not be read and count as wrong: see `report --answers`")
    if outcome.encoded:
        keep_cuts(record, data, outcome.encoded)


def _keep_failure(desk: Desk, record: TrialRecord, error: Exception) -> None:
    status: Status = "failed"
    if isinstance(error, DoesNotFitError):
        status = "does-not-fit"
    elif isinstance(error, UnsupportedError):
        status = "unsupported"
    elif isinstance(error, PrunedError):
        status, record.steps = "pruned", error.step
    told = None if isinstance(error, UnsupportedError | PrunedError) else "".join(traceback.format_exception(error))
    record.status = status
    record.failure = Failure(kind=type(error).__name__, message=str(error), traceback=told)
    traceback.clear_frames(error.__traceback__)  # they would hold the trial's tensors into the next one
    if not desk.shared.intact():
        desk.shared.drop()


def close_clock(record: TrialRecord, clock: PhaseClock) -> None:
    """Write down what a trial's phases took."""
    timeline = clock.read()
    record.phases = {
        name: Phase(seconds=figures.seconds, peak_bytes=figures.peak_bytes) for name, figures in timeline.phases.items()
    }
    record.wall_seconds = timeline.wall_seconds


RUNNERS: Mapping[str, Callable[[Desk, Planned, TrialRecord, tuple[Material, PhaseClock]], None]] = {
    "baseline": _run_baseline,
    "prompter": _run_prompter,
    "tuner": _run_tuner,
}
"""Family of a method to what runs a trial of it."""
