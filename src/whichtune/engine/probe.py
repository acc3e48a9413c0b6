"""Cost alone: one candidate on the plain path in a fresh process, a few steps, one quantity at a time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import perf_counter

from torch import Tensor

from whichtune.engine.fit import Run, advance
from whichtune.engine.predict import by_length
from whichtune.engine.trial import TunerTrial
from whichtune.measure.device import synchroniser
from whichtune.measure.energy import choose_energy_meter
from whichtune.measure.flops import Flops, count_flops
from whichtune.measure.latency import measure_latency
from whichtune.measure.memory import CudaMeter, choose_meter, read_device_bytes, saved_bytes
from whichtune.models.batch import Batch, Encoded, collate
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
    cost.latencies = list(_latencies(trial, run, measure))
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


def _watch(batches: Iterator[list[Batch]], timed: Timed) -> Iterator[list[Batch]]:
    for group in batches:
        timed.tokens.append(sum(batch.tokens for batch in group))
        timed.rows.append(sum(len(batch.rows) for batch in group))
        yield group


def _saved(run: Run, cost: AloneCost) -> None:
    """Count what the forward pass of one batch keeps for its backward pass; weights are kept by reference."""
    assembly = run.assembly
    batch = next(run.batches)[0].to(assembly.device)
    states = [*assembly.backbone.trunk.parameters(), *assembly.backbone.trunk.buffers(), *assembly.head.parameters()]
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


def _summed_loss(run: Run, batch: Batch) -> Tensor:
    with run.arithmetic.forward():
        outputs = run.assembly(batch)
    return run.task.loss(outputs, batch.targets)[0]


def _latencies(trial: TunerTrial, run: Run, measure: MeasureSpec) -> Iterator[LatencyFigures]:
    """Time the forward pass of one row and of a whole evaluation batch, unmerged and merged."""
    encoded, assembly = trial.material.encoded["validation"], trial.assembly
    ways = (False, True) if assembly.attachment.merge is not None else (False,)
    wait = synchroniser(assembly.device)
    for batch in _batches(encoded, trial.evaluation_batch):
        moved = batch.to(assembly.device)
        rows = len(batch.rows)
        repeats = measure.latency_repeats if rows == 1 else max(3, measure.latency_repeats // 5)
        for merge in ways:
            with assembly.predicting(merge=merge) as merged, run.arithmetic.forward():
                took = measure_latency(partial(assembly, moved), repeats=repeats, warm_up=2, synchronise=wait)
            yield LatencyFigures(
                batch=rows, merged=merged, median_seconds=took.median_seconds, p95_seconds=took.p95_seconds
            )


def _batches(encoded: Encoded, size: int) -> Iterator[Batch]:
    """One row of middling length, and the middle batch of an evaluation."""
    middle = int(encoded.lengths.argsort(kind="stable")[len(encoded) // 2])
    yield collate(encoded, [middle])
    if size > 1 and len(encoded) > 1:
        batches = -(-len(encoded) // size)
        yield next(islice(by_length(encoded, size), batches // 2, None))
