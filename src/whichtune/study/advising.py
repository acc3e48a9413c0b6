"""Before spending: what each candidate of a study would take on this machine, and what to try first.

Everything is measured in processes of their own, over a copy of the data in a temporary folder; nothing is written
beside the runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whichtune.data.examples import DataSet
from whichtune.data.load import load_data
from whichtune.data.storing import write_examples
from whichtune.engine.build import request_load
from whichtune.engine.gauging_baselines import gauge_baseline
from whichtune.engine.trial import Material
from whichtune.errors import InputError, TrialError
from whichtune.fetch.atomic import write_text
from whichtune.measure.device import describe_device, pick_device, set_threads
from whichtune.models.backbone import LoadRequest
from whichtune.records.folder import StudyFolder
from whichtune.report.model import Figure
from whichtune.spec.study import StudySpec
from whichtune.spec.write import dump_study
from whichtune.study.advising_model import Advice, Basis, Estimate, Gauged
from whichtune.study.gauging import ANSWER, blank, describe
from whichtune.study.plan import Planned, list_candidates
from whichtune.study.weighing_up import NOT_COUNTED, Machine, add_up, explain, weigh_up
from whichtune.tasks import build_task

Measure = Callable[[StudyFolder, dict[str, Any]], Gauged]


def gauge_apart(folder: StudyFolder, request: dict[str, Any]) -> Gauged:
    """Measure candidates of one backbone in a fresh process."""
    command = [sys.executable, "-m", "whichtune.study.gauging", str(folder.path), json.dumps(request)]
    answer = folder.path / ANSWER
    answer.unlink(missing_ok=True)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0 or not answer.is_file():
        last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise TrialError(f"the measuring process failed: {last[0]}")
    return Gauged.model_validate_json(answer.read_text(encoding="utf-8"))


def advise(
    study: StudySpec, say: Callable[[str], None], *, scale: str | None = None, measure: Measure = gauge_apart
) -> Advice:
    """Estimate every candidate of a study and put them in the order in which to try them.

    Raises `InputError` for what `run` would refuse.
    """
    device = pick_device(study.execution.device)
    threads = set_threads(study.execution.threads)
    data = load_data(study.data, study.task.answers, study.task.reads)
    with tempfile.TemporaryDirectory(prefix="whichtune-advise-") as place:
        folder = StudyFolder(Path(place))
        write_examples(folder.examples, data)
        write_text(folder.spec, dump_study(study, {"device": str(device), "threads": threads}))
        asker = _Asker(study, folder, {"device": str(device), "threads": threads}, say, measure)
        estimates, bases = asker.ask(data)
    facts = describe_device(device, threads)
    machine = Machine(str(facts["name"] or device), threads, facts["memory_bytes"])
    candidates = weigh_up(study, estimates, machine)
    least, most = add_up([(one.least_seconds, one.most_seconds) for one in candidates])
    unbounded = any(one.most_trainings is None for one in candidates)
    return Advice(
        study=study.name,
        scale=scale,
        device=machine.name,
        threads=threads,
        memory_bytes=machine.memory_bytes,
        rows={name: len(rows) for name, rows in data.examples.items()},
        axis=study.cost.axis,
        candidates=candidates,
        least_trainings=sum(one.least_trainings for one in candidates),
        most_trainings=None if unbounded else sum(one.most_trainings or 0 for one in candidates),
        least_seconds=least,
        most_seconds=most,
        probe_seconds=_add_probes(study, estimates),
        bases=bases,
        rests_on=explain(study, bases),
        not_counted=list(NOT_COUNTED),
    )


@dataclass(frozen=True)
class _Asker:
    """Has everything measured, one loaded backbone after another."""

    study: StudySpec
    folder: StudyFolder
    where: dict[str, Any]
    say: Callable[[str], None]
    measure: Measure

    def ask(self, data: DataSet) -> tuple[list[Estimate], list[Basis]]:
        """Return the estimates in the order of the plan, and what they rest on."""
        plan = list_candidates(self.study)
        found: dict[str, Estimate] = {}
        bases: list[Basis] = []
        for (name, _), group in _group(self.study, plan).items():
            if name is None:
                found |= {one.candidate: self._fit(one, data) for one in group}
                continue
            self.say(f"measuring on {name}: {', '.join(one.candidate for one in group)}")
            gauged = self._measure(group)
            found |= {one.candidate: one for one in gauged.estimates}
            bases += [] if gauged.basis is None else [gauged.basis]
        return [found[one.candidate] for one in plan], bases

    def _fit(self, planned: Planned, data: DataSet) -> Estimate:
        """Fit a baseline here and now."""
        task = build_task(self.study.task, data.labels, self.study.data.columns)
        estimate = describe(planned)
        try:
            took = gauge_baseline(planned.method, Material(task, data))
        except TrialError as error:
            return blank(estimate, str(error))
        figures = {"training_seconds": took.fitting, "validation_seconds": took.validation, "test_seconds": took.test}
        for name, seconds in figures.items():
            setattr(estimate, name, Figure(value=seconds))
        estimate.trainable = estimate.adapter_bytes = Figure(value=0.0)
        estimate.answer_seconds = Figure(value=took.test / max(1, len(data.examples["test"])))
        estimate.rests = "measured"
        estimate.notes += took.notes
        return blank(estimate, "it has no model")

    def _measure(self, group: Sequence[Planned]) -> Gauged:
        request = self.where | {"candidates": [one.candidate for one in group]}
        try:
            gauged = self.measure(self.folder, request)
        except TrialError as error:
            self.say(str(error))
            return Gauged(estimates=[blank(describe(one), str(error)) for one in group])
        if gauged.fault is not None:
            raise InputError(gauged.fault)
        return gauged


def _group(study: StudySpec, plan: Sequence[Planned]) -> dict[tuple[str | None, LoadRequest | None], list[Planned]]:
    """Sort candidates by the backbone that they need and how it is loaded for them."""
    groups: dict[tuple[str | None, LoadRequest | None], list[Planned]] = {}
    for one in plan:
        request = None
        if one.backbone is not None:
            request = request_load(one.method, study.execution.attention, study.task.reads)
        groups.setdefault((one.backbone, request), []).append(one)
    return groups


def _add_probes(study: StudySpec, estimates: Sequence[Estimate]) -> Figure:
    """Add up the probes; each is a process of its own."""
    if not study.measure.probe:
        return Figure(reason="measure.probe is off")
    probed = [one for one in estimates if one.family != "baseline" and one.unsupported is None]
    reasons = Counter(one.probe_seconds.reason for one in probed if one.probe_seconds.value is None)
    if reasons:
        return Figure(reason=reasons.most_common(1)[0][0] or "not known")
    return Figure(value=sum(one.probe_seconds.value or 0.0 for one in probed))
