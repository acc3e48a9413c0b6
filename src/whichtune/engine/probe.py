"""Cost alone: one candidate on the plain path in a fresh process, a few steps, one quantity at a time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from whichtune.engine.fit import Run, advance
from whichtune.engine.latencies import Timing, measure_latencies, time_forward, time_speaking
from whichtune.engine.matching import MatchingTrial
from whichtune.engine.prompting import PrompterTrial
from whichtune.engine.trial import TunerTrial
from whichtune.measure.device import synchroniser
from whichtune.measure.energy import choose_energy_meter
from whichtune.measure.flops import Flops, count_flops
from whichtune.measure.memory import CudaMeter, choose_meter, read_device_bytes, saved_bytes
from whichtune.measure.modes import modes
from whichtune.models.batch import Batched
from whichtune.records.trial import AloneCost, LatencyFigures
from whichtune.spec.training import MeasureSpec

WARM_UP_STEPS = 2
"""Steps before the timed ones: the first pays for allocation and the optimizer's state."""


@dataclass(frozen=True)
class Timed:
    """What the timed steps gave."""

    seconds: list[float]
    tokens: list[int]
    rows: list[int]


def probe(trial: TunerTrial, measure: MeasureSpec) -> AloneCost:
    """Measure time, memory, energy, FLOPs and latency of a candidate; what cannot be measured is None with a reason."""
    run = trial.prepare()
    run.listeners = ()
    run.keeper.every = run.keeper.last = run.total_steps = WARM_UP_STEPS + measure.probe_steps + 10**6
    for _ in range(WARM_UP_STEPS):
        advance(run)
    cost = AloneCost(steps=measure.probe_steps)
    timed = _weigh(run, measure.probe_steps, cost)
    cost.step_seconds = statistics.median(timed.seconds)
    cost.examples_per_step = max(timed.rows)
    cost.tokens_per_step = statistics.fmean(timed.tokens)
    _saved(run, cost)
    _flops(run, cost)
    cost.latencies = list(measure_latencies(trial, measure))
    return cost


def probe_prompter(trial: PrompterTrial, measure: MeasureSpec) -> AloneCost:
    """Measure what asking costs; nothing is trained."""
    with modes((), trial.speaker.backbone.trunk), torch.no_grad():
        prompts = trial.encode("validation").prompts()
        return _time_untrained(
            trial.speaker.device, time_speaking(trial.speaker, prompts, trial.batch, measure, plain=True)
        )


def probe_matcher(trial: MatchingTrial, measure: MeasureSpec) -> AloneCost:
    """Measure what comparing images with class names costs; the names are read before."""
    with trial.assembly.predicting():
        rows = trial.encode("validation")
        way = Timing(0, merged=False, plain=True, measure=measure, device=trial.assembly.device)
        return _time_untrained(
            trial.assembly.device, time_forward(trial.assembly, rows, trial.batch, trial.arithmetic, way)
        )


def _time_untrained(device: torch.device, latencies: Iterable[LatencyFigures]) -> AloneCost:
    """Take latencies as the whole cost of a method that trains nothing."""
    cost = AloneCost(steps=0)
    names = ("step_seconds", "examples_per_step", "tokens_per_step", "saved_bytes", "forward_flops", "backward_flops")
    cost.unmeasured = dict.fromkeys(names, "nothing is trained")
    meter, why = choose_meter(device)
    if meter is not None:
        meter.reset()
    cost.latencies = list(latencies)
    cost.peak_bytes = None if meter is None else meter.read()
    others = ("peak_bytes", "reserved_bytes", "device_bytes", "energy_joules")
    told = why or "not measured for a method that is not trained"
    cost.unmeasured |= {name: told for name in others if getattr(cost, name) is None}
    return cost


def _weigh(run: Run, steps: int, cost: AloneCost) -> Timed:
    """Take the timed steps; memory peaks and energy are read around them."""
    device = run.assembly.device
    timed = Timed([], [], [])
    meter, why_no_meter = choose_meter(device)
    energy = choose_energy_meter(device)
    wait = synchroniser(device) or (lambda: None)
    run.batches = _watch(run.batches, timed)
    if meter is not None:
        meter.reset()
    before = energy.read()
    for _ in range(steps):
        start = perf_counter()
        advance(run)
        wait()
        timed.seconds.append(perf_counter() - start)
    joules = energy.joules(before, energy.read())
    cost.peak_bytes = None if meter is None else meter.read()
    cost.reserved_bytes = meter.read_reserved() if isinstance(meter, CudaMeter) else None
    in_use = read_device_bytes(device)
    cost.device_bytes, cost.energy_joules = in_use.value, joules.value
    reasons = {
        "peak_bytes": why_no_meter or "the peak could not be read",
        "reserved_bytes": "only a GPU's allocator reserves memory",
        "device_bytes": in_use.reason,
        "energy_joules": joules.reason,
    }
    cost.unmeasured |= {name: str(why) for name, why in reasons.items() if getattr(cost, name) is None}
    return timed


def _watch(batches: Iterator[list[Batched]], timed: Timed) -> Iterator[list[Batched]]:
    for group in batches:
        timed.tokens.append(sum(batch.tokens for batch in group))
        timed.rows.append(sum(len(batch.rows) for batch in group))
        yield group


def _saved(run: Run, cost: AloneCost) -> None:
    """Count what the forward pass of one batch keeps for its backward pass; weights are kept by reference."""
    assembly = run.assembly
    batch = next(run.batches)[0].to(assembly.device)
    trunk = assembly.backbone.trunk
    states = [*trunk.parameters(), *trunk.buffers(), *assembly.head.parameters()]
    states += [] if assembly.backbone.output is None else list(assembly.backbone.output.buffers())
    with assembly.fitting(), run.arithmetic.forward(), saved_bytes(states) as kept:
        assembly(batch)
    cost.saved_bytes = kept.reading.value
    if kept.reading.reason is not None:
        cost.unmeasured["saved_bytes"] = kept.reading.reason


def _flops(run: Run, cost: AloneCost) -> None:
    """Count a step's operations forward and backward apart, on real batches, one after another."""
    counted = Flops(0, 0)
    with run.assembly.fitting():
        for batch in next(run.batches):
            forward = partial(_summed_loss, run, batch.to(run.assembly.device))
            counted += count_flops(forward, lambda loss: loss.backward())
    run.optimizer.zero_grad(set_to_none=True)
    cost.forward_flops, cost.backward_flops = counted.forward, counted.backward


def _summed_loss(run: Run, batch: Batched) -> Tensor:
    with run.arithmetic.forward():
        outputs = run.assembly(batch)
    return run.task.loss(outputs, batch.targets)[0]
