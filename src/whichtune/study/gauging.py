"""The measuring process of `advise`: `python -m whichtune.study.gauging STUDY REQUEST` estimates some candidates.

It loads the backbone once, asks a language model a little, takes five training steps of one candidate, and counts a
few short batches of every other one. A process of its own keeps its memory clean; it writes one answer and ends.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from whichtune.data.storing import read_examples
from whichtune.engine.features import trains_head_alone
from whichtune.engine.gauging import (
    GAUGED_STEPS,
    WARM_UP_STEPS,
    Laws,
    Rates,
    count_laws,
    find_rates,
    find_working,
    take_steps,
)
from whichtune.engine.gauging_answers import SpeechRates, gauge_speech
from whichtune.engine.latencies import LEAST_REPEATS, MOST_WRITTEN
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.prefix import frozen_prefix
from whichtune.engine.prefix_cache import count_replayed
from whichtune.engine.speaking import Speaker
from whichtune.engine.trial import TunerTrial, count_assembly
from whichtune.engine.writing import require_words_fit
from whichtune.errors import InputError, TrialError, UnsupportedError
from whichtune.fetch.atomic import write_text
from whichtune.measure.device import pick_device, set_threads
from whichtune.models.batch import Encoded
from whichtune.models.pair import Pair
from whichtune.records.folder import StudyFolder
from whichtune.report.model import Figure
from whichtune.spec.read import load_stored_study
from whichtune.spec.zero_shot import ZeroShotSpec
from whichtune.study.advising_model import Basis, Estimate, Gauged
from whichtune.study.estimating import Ground, Passings, estimate_tuner
from whichtune.study.estimating_asked import estimate_matcher, estimate_prompter
from whichtune.study.plan import Planned, family_of, list_candidates
from whichtune.study.probing import assemble_trial
from whichtune.study.sharing import Ledger, Shared
from whichtune.tasks import build_task
from whichtune.tasks.contract import WrittenTask

ANSWER = "gauged.json"
PROBED_WAYS = 2
"""Forms of a tuned model whose answers a probe times: two or three where it can be merged, else one."""
FEW_STEPS = 2
"""Timed steps of a head that trains alone: only the memory of its plain path is asked for."""


def main(study: str, request: str) -> None:
    """Measure what a request names, and write the answer beside the study."""
    started = time.perf_counter()
    asked = json.loads(request)
    folder = StudyFolder(Path(study))
    spec, _ = load_stored_study(folder.spec)
    set_threads(asked["threads"])
    data = read_examples(folder.examples)
    task = build_task(spec.task, data.labels, spec.data.columns)
    shared = Shared(spec, data, task, pick_device(asked["device"]), Ledger(folder.costs("gauging")))
    plan = [one for one in list_candidates(spec) if one.candidate in asked["candidates"]]
    try:
        found = gauge(shared, plan, started)
    except InputError as error:
        found = Gauged(fault=str(error))
    write_text(folder.path / ANSWER, found.model_dump_json())


@dataclass
class _Sketch:
    """A tuner that was attached once, to see what it is."""

    planned: Planned
    trained: int
    prefix: int
    head_alone: bool
    estimate: Estimate
    laws: Laws | None = None


@dataclass
class _Gauge:
    """What becomes known of one backbone, loaded in one way."""

    shared: Shared
    basis: Basis
    rates: Rates | None = None
    speech: SpeechRates | None = None
    passings: Passings = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)


def gauge(shared: Shared, plan: Sequence[Planned], started: float | None = None) -> Gauged:
    """Estimate candidates that run on one backbone, loaded in one way."""
    started = time.perf_counter() if started is None else started
    first = plan[0]
    assert first.backbone is not None  # noqa: S101 - baselines are not gauged here
    request = shared.request(first.method)
    bits = "in four bits" if request.quantization is not None else f"in {shared.study.backbone(first.backbone).dtype}"
    basis = Basis(backbone=first.backbone, loaded=bits)
    state = _Gauge(shared, basis)
    asking = [one for one in plan if family_of(one.method) == "prompter"]
    tuners = [one for one in plan if family_of(one.method) == "tuner"]
    for planned in asking:
        state.estimates[planned.candidate] = _ask(state, planned)
    _train(state, tuners, started)
    if basis.start_seconds is None:
        basis.start_seconds = time.perf_counter() - started
    for estimate in state.estimates.values():
        estimate.probe_seconds = _probe(state, estimate)
    basis.gauged_seconds = time.perf_counter() - started
    return Gauged(estimates=[state.estimates[one.candidate] for one in plan], basis=basis)


def describe(planned: Planned) -> Estimate:
    """Return an estimate that says whose it is and nothing more."""
    return Estimate(
        candidate=planned.candidate,
        method=planned.method_name,
        kind=planned.method.kind,
        backbone=planned.backbone,
        family=family_of(planned.method),
    )


def blank(estimate: Estimate, reason: str) -> Estimate:
    """Give every figure that is missing a reason."""
    for name, value in estimate:
        if isinstance(value, Figure) and value.value is None and value.reason is None:
            setattr(estimate, name, Figure(reason=reason))
    return estimate


def _probe(state: _Gauge, estimate: Estimate) -> Figure:
    """Estimate a probe: a process that starts and loads, a few steps, and answers one by one and in a batch."""
    measure, start = state.shared.study.measure, state.basis.start_seconds
    step, answer = estimate.step_seconds.value, estimate.answer_seconds.value
    if start is None or answer is None or (step is None and estimate.family == "tuner"):
        return Figure(reason=estimate.answer_seconds.reason or estimate.step_seconds.reason or "not known")
    steps = (2 * WARM_UP_STEPS + measure.probe_steps) * (step or 0.0)
    ways = 1 if estimate.family == "prompter" else PROBED_WAYS
    answers = measure.latency_repeats + max(LEAST_REPEATS, measure.latency_repeats // 5) * MOST_WRITTEN
    return Figure(value=start + steps + ways * answers * answer)


def _ask(state: _Gauge, planned: Planned) -> Estimate:
    """Estimate a method that asks the backbone and trains nothing."""
    estimate = describe(planned)
    way = estimate_matcher if isinstance(planned.method, ZeroShotSpec) else estimate_prompter
    with _telling(estimate):
        state.speech = way(state.shared, planned, estimate, state.speech)
    return blank(estimate, "nothing is trained")


def _train(state: _Gauge, tuners: Sequence[Planned], started: float) -> None:
    """Time the steps of one tuner, count the laws of the others, and estimate them all."""
    sketches: list[_Sketch] = []
    for planned in tuners:
        estimate = state.estimates[planned.candidate] = describe(planned)
        with _telling(estimate):
            sketches.append(_sketch(state, planned, estimate))
    state.basis.start_seconds = time.perf_counter() - started
    sketches.sort(key=lambda one: (one.head_alone, one.prefix, one.trained))
    for chosen in sketches:
        with _telling(chosen.estimate):
            _time(state, chosen)
            if state.speech is None and state.shared.task.head().tokens:
                state.speech = _listen(state, chosen.planned)
            break
    for sketch in sketches:
        if state.rates is not None:
            with _telling(sketch.estimate):
                _estimate(state, sketch, state.rates)
        blank(sketch.estimate, "no training step could be taken on this backbone")


@contextmanager
def _telling(estimate: Estimate) -> Generator[None]:
    """Let what fails be told in the figures of one candidate; only what is wrong in the input gets through."""
    try:
        yield
    except InputError:
        raise
    except UnsupportedError as error:
        estimate.unsupported = str(error)
        blank(estimate, str(error))
    except Exception as error:  # a trial would fail of it, too, and be a row with its reason
        told = str(error) if isinstance(error, TrialError) else f"{type(error).__name__}: {error}"
        blank(estimate, " ".join(told.split())[:200])


def _sketch(state: _Gauge, planned: Planned, estimate: Estimate) -> _Sketch:
    """Attach a tuner, count it, see that it could train, and take it off."""
    trial = assemble_trial(state.shared, planned)
    attachment, backbone = trial.assembly.attachment, trial.assembly.backbone
    try:
        counts, _ = count_assembly(trial.assembly)
        estimate.trainable = Figure(value=counts.trainable)
        kept = attachment.saved.values()
        estimate.adapter_bytes = Figure(value=sum(tensor.numel() * tensor.element_size() for tensor in kept))
        trial.prepare()
        if trial.material.task.head().tokens:
            asking = cast(WrittenTask, trial.material.task).asking
            require_words_fit(asking, backbone.encoder, trial.material.data.examples["test"][0])
        trained = sum(tensor.numel() for tensor in attachment.trained.values())
        prefix = 0 if isinstance(backbone, Pair) else frozen_prefix(backbone, attachment)
        return _Sketch(planned, trained, prefix, trains_head_alone(trial.assembly), estimate)
    finally:
        attachment.detach()


def _time(state: _Gauge, chosen: _Sketch) -> None:
    """Take the steps of the chosen candidate, and see what its process holds."""
    basis, trial = state.basis, assemble_trial(state.shared, chosen.planned)
    try:
        taken = take_steps(trial, GAUGED_STEPS if not chosen.head_alone else FEW_STEPS)
        chosen.laws = count_laws(trial)
        state.rates = find_rates(trial, chosen.laws, taken)
    finally:
        trial.assembly.attachment.detach()
    rates, basis.candidate = state.rates, chosen.planned.candidate
    basis.steps, basis.step_seconds = len(taken.seconds), statistics.median(taken.seconds)
    basis.cells = statistics.fmean(sum(batch.cells for batch in step) for step in taken.steps)
    basis.forward, basis.backward, basis.predicting = rates.forward, rates.backward, rates.predicting
    basis.peak_bytes, basis.before_bytes = taken.peak_bytes, taken.before_bytes
    working = find_working(taken, chosen.laws, chosen.trained)
    if working is None:
        basis.why_no_memory = taken.reason or chosen.laws.why_not_saved or "memory is not metered here"
    else:
        basis.working, basis.beside_bytes = working


def _estimate(state: _Gauge, sketch: _Sketch, rates: Rates) -> None:
    """Fill in the estimate of one tuner."""
    trial = assemble_trial(state.shared, sketch.planned)
    try:
        laws = sketch.laws or count_laws(trial)
        kept = 0 if sketch.head_alone or not state.shared.study.engine.reuse_prefix else _count_kept(trial)
        ground = Ground(state.shared, trial, laws, rates, state.basis, state.speech, state.passings, kept)
        estimate_tuner(ground, sketch.estimate, head_alone=sketch.head_alone)
        sketch.estimate.rests = "theory" if sketch.laws is None else "measured"
    finally:
        trial.assembly.attachment.detach()


def _count_kept(trial: TunerTrial) -> int:
    """Count the first blocks whose rows are kept of every split; of one that writes, training rows alone would be."""
    texts = all(isinstance(rows, Encoded) for rows in trial.material.encoded.values())
    return count_replayed(trial.assembly) if texts and not trial.material.task.head().tokens else 0


def _listen(state: _Gauge, planned: Planned) -> SpeechRates:
    """Gauge the untouched backbone of tuners that answer in words."""
    assert planned.backbone is not None  # noqa: S101 - tuners have one
    request, training = state.shared.request(planned.method), state.shared.study.training_of(planned.method)
    encoded = state.shared.material(planned.backbone, request, training.max_length).encoded["validation"]
    assert isinstance(encoded, Encoded)  # noqa: S101 - what is written is text
    backbone = state.shared.load(planned.backbone, request)
    return gauge_speech(Speaker(backbone, Arithmetic(training.precision, state.shared.device)), encoded.prompts())


if __name__ == "__main__":
    main(*sys.argv[1:])
