"""The probing process: `python -m whichtune.study.probing STUDY REQUEST` measures one candidate alone, and ends."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from whichtune.data.storing import read_examples
from whichtune.engine.build import build_assembly
from whichtune.engine.probe import probe, probe_matcher, probe_prompter
from whichtune.engine.trial import Material, TunerTrial
from whichtune.errors import RecordError
from whichtune.fetch.atomic import write_text
from whichtune.measure.clock import PhaseClock
from whichtune.measure.device import pick_device, set_threads
from whichtune.measure.environment import read_versions
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import AloneCost, Probe
from whichtune.spec.engine import PLAIN
from whichtune.spec.grids import with_setting
from whichtune.spec.method_base import TunerBase
from whichtune.spec.read import load_stored_study
from whichtune.spec.seeds import Streams
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.study.plan import Planned, plan_study
from whichtune.study.prompters import make_matcher, make_prompter
from whichtune.study.sharing import Ledger, Shared
from whichtune.tasks import build_task


def main(study: str, request: str) -> None:
    """Build the candidate as a trial would, measure it, and write its record."""
    asked = json.loads(request)
    folder = StudyFolder(Path(study))
    spec = load_stored_study(folder.spec)[0].model_copy(update={"engine": PLAIN})
    threads = set_threads(asked["threads"])
    data = read_examples(folder.examples)
    shared = Shared(
        spec,
        data,
        build_task(spec.task, data.labels, spec.data.columns),
        pick_device(asked["device"]),
        Ledger(folder.costs("probes")),
    )
    planned = _find(plan_study(spec), asked["candidate"])
    if asked.get("tuned"):
        planned = replace(planned, method=with_setting(planned.method, asked["tuned"]))
    alone = _measure(shared, planned)
    record = Probe(
        id=asked["id"],
        candidate=planned.candidate,
        method=planned.method_name,
        backbone=planned.backbone,
        device=str(shared.device),
        threads=threads,
        alone=alone,
        versions=read_versions(),
    )
    write_text(folder.probe(asked["id"]), record.model_dump_json(indent=1))


def _find(plan: list[Planned], candidate: str) -> Planned:
    for planned in plan:
        if planned.candidate == candidate:
            return planned
    raise RecordError(f"no candidate named '{candidate}' in this study")


def _measure(shared: Shared, planned: Planned) -> AloneCost:
    measure = shared.study.measure
    if isinstance(planned.method, TunerBase):
        return probe(assemble_trial(shared, planned), measure)
    material, request = Material(shared.task, shared.data), shared.request(planned.method)
    if isinstance(planned.method, ZeroShotSpec):
        return probe_matcher(make_matcher(shared, planned, material, request), measure)
    return probe_prompter(make_prompter(shared, planned, material, request), measure)


def assemble_trial(shared: Shared, planned: Planned) -> TunerTrial:
    """Put a tuner onto its backbone as a trial would, with all that the trial needs."""
    assert isinstance(planned.method, TunerBase)  # noqa: S101 - only tuners are probed
    assert planned.backbone is not None  # noqa: S101
    training = shared.study.training_of(planned.method)
    request = shared.request(planned.method)
    backbone = shared.load(planned.backbone, request)
    material = shared.material(planned.backbone, request, training.max_length)
    streams = Streams(planned.seed, planned.method.stream)
    assembly = build_assembly(backbone, planned.method, shared.task.head(), training.head_dropout, streams)
    size = shared.evaluation_rows
    return TunerTrial(assembly, material, planned.method, training, PhaseClock(), size)


if __name__ == "__main__":
    main(*sys.argv[1:])
