"""A finished trial run again from its record, and its outcome held against the first one's.

The second run goes into a temporary folder; the study's own folder is only read. What an outcome rests on (rows,
weights, tokenizer, prompts) is fingerprinted first: where one of them is another one now, there is nothing to verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from pydantic import BaseModel, TypeAdapter
from safetensors.torch import load_file

from whichtune.data.examples import DataSet
from whichtune.data.load import fingerprint_data, load_data
from whichtune.data.storing import read_examples
from whichtune.engine.optimizing import warm_up_optimizer
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.errors import InputError, RecordError
from whichtune.measure.device import describe_device, pick_device, using_threads
from whichtune.measure.environment import read_versions
from whichtune.records.folder import StudyFolder, TrialFolder, read_lines
from whichtune.records.outcomes import (
    Difference,
    compare_counts,
    compare_curves,
    compare_predictions,
    compare_scores,
    given,
    moved_splits,
    share_agreement,
)
from whichtune.records.predictions import Predictions, read_predictions
from whichtune.records.trial import TrialRecord
from whichtune.spec.digest import canonical
from whichtune.spec.engine import EngineSpec
from whichtune.spec.methods import MethodSpec
from whichtune.spec.read import load_stored_study
from whichtune.spec.sources import Columns
from whichtune.spec.study import StudySpec
from whichtune.spec.tasks import TaskSpec
from whichtune.spec.training import TrainingSpec
from whichtune.study.execute import Desk, execute
from whichtune.study.plan import Fingerprints, Planned, identity_of, name_load
from whichtune.study.prompters import fingerprint_prompts
from whichtune.study.sharing import Ledger, Shared
from whichtune.study.signals import stopping_on_signals
from whichtune.study.watching import Watcher
from whichtune.tasks import build_task
from whichtune.tasks.contract import Task

Outcome = Literal["equal", "within-noise", "different"]
MACHINE = ("name", "capability")
"""What of a device moves the last bits of a sum."""
EXECUTION = ("attention", "evaluation_batch", "reuse_features")
TOLD = {
    "data": "the rows",
    "backbone": "the weights, or how they are loaded",
    "tokenizer": "the tokenizer",
    "prompt": "the wording of the prompts",
    "manners": "the chat template",
    "protocol": "the protocol of whichtune",
    "columns": "the columns",
}
"""Part of an identity to what is said where it is another one now."""
NOT_COMPARED = {"entry", "role", "pruner"}
"""Parts of an identity that name a trial and change nothing in it."""
ROUNDING = 1e-6
"""Predictions are kept in float32; metrics computed again from them agree so far."""


class Verification(BaseModel):
    """A trial and its second run."""

    trial: str
    study: str
    candidate: str
    seed: int
    outcome: Outcome
    precision: str
    tolerance: float
    """How far numbers may lie apart, as a share of their standard deviation, by the trial's precision."""
    agreement: float | None = None
    """Least share of rows answered alike over the splits; None where they are not the same rows."""
    rows: dict[str, int]
    """Rows compared, by split."""
    steps: int | None
    """Optimizer steps of the recorded run."""
    compared: list[str]
    """What was held against what."""
    caveats: list[str]
    """What is not as it was in the first run, told before the second one."""
    differences: list[Difference]
    failure: str | None = None
    """Why the second run did not finish."""
    recorded_seconds: float | None
    seconds: float | None


@dataclass(frozen=True)
class _Case:
    """A trial to be run again, with what its study says about it."""

    folder: TrialFolder
    home: StudyFolder
    record: TrialRecord
    study: StudySpec
    """With the trial's own task, training, columns and manner of running."""
    planned: Planned
    predictions: dict[str, Predictions]
    """What it predicted, by split."""

    @property
    def precision(self) -> str:
        """The arithmetic of the trial."""
        own = self.record.training or self.record.identity
        return str(own.get("precision", "float32"))

    @property
    def tolerance(self) -> float:
        """The widest tolerance of the types that the trial computes in."""
        backbone = self.record.identity.get("backbone", {})
        parts = [backbone, *(part for part in backbone.values() if isinstance(part, Mapping))]
        types = {self.precision, *(str(part["dtype"]) for part in parts if "dtype" in part)}
        return max(TOLERANCES.get(name, TOLERANCES["float32"]) for name in types)


def verify(folder: TrialFolder, watcher: Watcher) -> Verification:
    """Run a finished trial again from its record and compare; raises where that cannot be done, before it is run."""
    case = _open(folder)
    kind = str(case.record.device.get("kind", "cpu"))
    try:
        device = pick_device(kind)
    except InputError as error:
        told = f"{case.record.id}: cannot be verified here: it ran on {kind} ({case.record.device.get('name')})"
        raise RecordError(told, remedy="verify it on a machine with such a device") from error
    recorded = case.record.device.get("threads")
    threads = recorded if isinstance(recorded, int) else torch.get_num_threads()
    caveats = list(_list_caveats(case.record, describe_device(device, threads)))
    with (
        TemporaryDirectory(prefix="whichtune-verify-") as place,
        using_threads(threads),
        stopping_on_signals(),
    ):
        data, more = _read_rows(case)
        caveats += more
        for caveat in caveats:
            watcher.on_note(caveat)
        scratch = StudyFolder(Path(place))
        task = build_task(case.study.task, data.labels, case.study.data.columns)
        shared = Shared(case.study, data, task, device, Ledger(scratch.costs("main")))
        desk = Desk(scratch, shared, None, threads, (watcher,))
        _require_same(case, desk)
        warm_up_optimizer()
        watcher.on_trial(case.planned, 0, 1)
        again = execute(desk, case.planned, case.record.identity)
        watcher.on_trial_end(again, found=False)
        return _compare(case, scratch.trial(again.id), again, task, caveats)


def _open(folder: TrialFolder) -> _Case:
    """Read a trial that can be run again, or say why it cannot."""
    record = folder.read()
    front = f"{record.id}: cannot be verified: "
    if record.role == "search":
        remedy = "verify a final trial; it rests on the setting that the search chose"
        raise RecordError(f"{front}a search trial keeps no test predictions", remedy=remedy)
    if record.status != "finished":
        why = "" if record.failure is None else f" ({record.failure.message})"
        raise RecordError(f"{front}the trial is {record.status}{why}", remedy="run its study again")
    home = StudyFolder(folder.path.resolve().parents[1])
    if not home.spec.is_file():
        remedy = "keep the trial in the folder of its study"
        raise RecordError(f"{front}its study, which names data and weights, is not there", remedy=remedy)
    study = _rebuild(record, load_stored_study(home.spec)[0])
    if record.backbone is not None and record.backbone not in study.backbones:
        raise RecordError(f"{front}its study has no backbone `{record.backbone}` any more", remedy=_remedy())
    method = TypeAdapter[MethodSpec](MethodSpec).validate_python(record.settings)
    planned = Planned(
        candidate=record.candidate,
        method_name=record.method,
        method=method,
        backbone=record.backbone,
        seed=record.seed,
        deterministic=record.deterministic,
        role=record.role,
        tuned=record.tuned,
        labels=record.labels,
    )
    return _Case(folder, home, record, study, planned, read_predictions(folder.predictions))


def _rebuild(record: TrialRecord, study: StudySpec) -> StudySpec:
    """Lay what the record says over the study, whose file may have changed since."""
    identity = record.identity
    columns = identity.get("columns")  # named in prompts; elsewhere the study says where a file has what
    data = study.data if columns is None else study.data.model_copy(update={"columns": Columns.model_validate(columns)})
    training = study.training
    if record.training is not None:  # of a size the record has its own epochs, and the identity those of all rows
        training = TrainingSpec.model_validate(record.training | identity.get("training", {}))
    if "precision" in identity:
        training = training.model_copy(update={"precision": identity["precision"]})
    own = {name: record.device[name] for name in EXECUTION if name in record.device}
    return study.model_copy(
        update={
            "task": TypeAdapter[TaskSpec](TaskSpec).validate_python(identity["task"]),
            "data": data,
            "training": training,
            "sizes_hold": identity.get("hold", study.sizes_hold),
            "engine": EngineSpec(
                unpad=bool(record.device.get("unpad")),
                narrow=bool(record.device.get("narrow")),
                onednn=bool(record.device.get("onednn")),
                reuse_prefix=bool(record.device.get("prefix_blocks")),
                dequantize_once=bool(record.device.get("dequantized")),
            ),
            "execution": study.execution.model_copy(update={**own, "check": False}),
        }
    )


def _read_rows(case: _Case) -> tuple[DataSet, list[str]]:
    """Read the rows where they came from, or those kept beside the records where that is no longer possible."""
    study, notes = case.study, list[str]()
    try:
        data = load_data(study.data, study.task.answers, study.task.reads)
    except (InputError, OSError) as error:
        if not case.home.examples.is_file():
            raise
        kept = read_examples(case.home.examples)
        data = DataSet(kept.examples, kept.labels, fingerprint_data(kept.examples, kept.labels), kept.report)
        notes.append(f"the rows are those kept in {case.home.examples}: their source cannot be read ({error})")
    if data.fingerprint != case.record.identity["data"]:
        _refuse(case, ["data"])
    return data, notes


def _require_same(case: _Case, desk: Desk) -> None:
    """Refuse where weights, tokenizer, prompts or settings are not those of the trial."""
    planned, shared = case.planned, desk.shared
    weights, readers, manners = dict[str, str](), dict[str, str](), dict[str, str]()
    if planned.backbone is not None:
        backbone, name = shared.load(planned.backbone, desk.request(planned)), name_load(planned)
        weights[name], readers[name] = backbone.fingerprint, backbone.reader.fingerprint
        manners[name] = backbone.reader.manners
    prompts = fingerprint_prompts(shared, [planned])
    known = Fingerprints(shared.data.fingerprint, weights, readers, prompts, manners)
    now = identity_of(planned, case.study, known)
    changed = [name for name, held in case.record.identity.items() if not _holds(held, now.get(name))]
    changed = [name for name in changed if name not in NOT_COMPARED]
    if changed:
        _refuse(case, changed)


def _holds(held: object, now: object) -> bool:
    """Whether everything that the record holds is so now; settings that a later version added are at their default."""
    if isinstance(held, Mapping) and isinstance(now, Mapping):
        return all(name in now and _holds(own, now[name]) for name, own in held.items())
    return canonical(held) == canonical(now)


def _refuse(case: _Case, changed: Iterable[str]) -> None:
    what = ", ".join(TOLD.get(name, f"`{name}`") for name in changed)
    told = f"{case.record.id}: cannot be verified: no longer what they were in the trial: {what}"
    raise RecordError(told, remedy=_remedy())


def _remedy() -> str:
    return "bring back what the trial ran on, or run its study again for new trials"


def _list_caveats(record: TrialRecord, here: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of machine and software is not as it was."""
    for name in MACHINE:
        then = record.device.get(name)
        if then != here.get(name):
            yield f"another device: {name} was {then}, and is {here.get(name)} here; last bits may differ"
    if not isinstance(record.device.get("threads"), int):
        yield "the record does not say how many threads it used; last bits may differ"
    if record.device.get("pack_together"):
        yield "it trained in one pass with other trials, and trains alone here; last bits may differ"
    now = read_versions()
    for name in dict.fromkeys([*record.versions, *now]):
        then, own = record.versions.get(name, "none"), now.get(name, "none")
        if then != own:
            yield f"another version of {name}: {then} then, {own} now; last bits may differ"


def _compare(case: _Case, folder: TrialFolder, again: TrialRecord, task: Task, caveats: list[str]) -> Verification:
    record = case.record
    made = Verification(
        trial=record.id,
        study=record.study,
        candidate=record.candidate,
        seed=record.seed,
        outcome="different",
        precision=case.precision,
        tolerance=case.tolerance,
        rows={},
        steps=record.steps,
        compared=[],
        caveats=caveats,
        differences=[],
        recorded_seconds=record.wall_seconds,
        seconds=again.wall_seconds,
    )
    if again.status != "finished":
        made.failure = f"{again.status}: {'' if again.failure is None else again.failure.message}"
        return made
    first, second = case.predictions, read_predictions(folder.predictions)
    made.rows = {split: len(table.ids) for split, table in first.items()}
    made.agreement = share_agreement(first, second)
    tables = compare_predictions(first, second, made.tolerance)
    lines = [list(read_lines(one.curve)) for one in (case.folder, folder)]
    shared = bool(record.device.get("pack_together"))
    curve = compare_curves(lines[0], lines[1], made.tolerance, shared=shared)
    moved = moved_splits(tables)
    made.compared = ["predictions", *["curve"] * folder.curve.is_file(), "counts", "scores"]
    counts = compare_counts(record, again, shared=shared)
    made.differences = [*tables, *curve, *counts, *compare_scores(record, again, moved)]
    for split in moved & set(record.scores):
        made.differences += _rescore(record, split, first[split], task)
    if (folder.adapter / "adapter.safetensors").is_file():
        made.compared.append("trained tensors")
        made.differences += _compare_tensors(case.folder.adapter, folder.adapter, moved=bool(curve) or shared)
    if not made.differences:
        made.outcome = "equal"
    elif all(one.noise for one in made.differences):
        made.outcome = "within-noise"
    return made


def _rescore(record: TrialRecord, split: str, table: Predictions, task: Task) -> Iterator[Difference]:
    """Yield the recorded metrics that do not follow from the recorded predictions."""
    known = {one.name: one.value for one in task.evaluate(table).metrics}
    for one in record.scores[split].metrics:
        own, value = known.get(one.name), one.value
        alike = own == value if own is None or value is None else abs(own - value) <= ROUNDING * max(1, abs(value))
        if not alike:
            yield given(f"scores ({split})", f"{one.name}, computed again from the recorded predictions", value, own)


def _compare_tensors(recorded: Path, again: Path, *, moved: bool) -> Iterator[Difference]:
    """Yield the trained tensors that differ; where neither a loss did nor a pass was shared, nothing explains it."""
    part = "trained tensors"
    try:
        first = load_file(recorded / "adapter.safetensors")
    except Exception as error:  # absent, cut short or no such file: the library has an error of its own for each
        yield given(part, "adapter.safetensors", f"not readable ({error})", "written")
        return
    second = load_file(again / "adapter.safetensors")
    if first.keys() != second.keys():
        yield given(part, "names", sorted(first), sorted(second))
        return
    for name, tensor in first.items():
        other = second[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            yield given(part, name, f"{tensor.dtype} {tuple(tensor.shape)}", f"{other.dtype} {tuple(other.shape)}")
        elif not torch.equal(tensor.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)):
            yield Difference(
                part=part,
                name=name,
                kind="result",
                differing=int((tensor != other).sum()),
                values=tensor.numel(),
                greatest=float((tensor.double() - other.double()).abs().max()),
                distance=distance(other, tensor),
                noise=moved,
            )
