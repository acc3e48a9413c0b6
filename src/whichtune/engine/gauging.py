"""Estimating a training before it is run: operations and kept bytes by law, their rates from a few steps of one method.

Operations are counted on a few short batches of the real rows and extended to all by the law of `shapes`; seconds are
operations over a rate that a few real steps of one candidate gave on this machine. Bytes are what its process has in
memory, with the candidate's own states and kept rows put in the place of those of the candidate that was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from whichtune.engine.assembly import Assembly
from whichtune.engine.fit import Run, advance
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.shapes import Law, Shape, choose_samples, fit_law, shape_rows
from whichtune.engine.trial import TunerTrial
from whichtune.layers.masks import seed_modules
from whichtune.measure.device import synchroniser
from whichtune.measure.flops import count_flops
from whichtune.measure.memory import SavedBytes, choose_meter, read_rss, saved_bytes
from whichtune.measure.reading import Reading
from whichtune.models.batch import Batched, EncodedRows
from whichtune.models.features import Features, FeatureTable

GAUGED_STEPS = 5
"""Timed training steps, after two that warm up."""
WARM_UP_STEPS = 2
TIMED_FORWARDS = 3
LEAST_BACKWARD = 0.3
"""Share of a step that its backward pass takes at least, where the forward pass alone was timed in a bad moment."""
STATE_BYTES = 8
"""Of AdamW's two moments, a trained number."""
GRADIENT_BYTES = 4
MOST_WORKING = 4.0
"""Times the kept bytes that a step may be taken to work with: beyond, something else was in the way."""
TRIED_NUMBERS = 2_000_000
"""Trained numbers on which the optimizer's own time is measured."""


@dataclass(frozen=True)
class Laws:
    """What a step of a candidate needs, by the sizes of its batches."""

    forward: Law
    """Operations."""
    backward: Law
    """Operations, recomputation included."""
    answering: Law
    """Operations of a forward pass as answers are given: merged where that is possible."""
    saved: Law | None
    """Bytes kept for the backward pass."""
    why_not_saved: str = ""


@dataclass(frozen=True)
class Rates:
    """How fast this machine is, by one candidate."""

    forward: float
    """Operations a second of a forward pass that keeps its rows."""
    backward: float
    predicting: float
    """Operations a second of a forward pass over a batch without gradients."""
    alone: float
    """The same over a single row."""
    update_seconds: float
    """Of the optimizer, a trained number."""


@dataclass(frozen=True)
class Taken:
    """A few steps that one candidate took."""

    seconds: list[float]
    steps: list[list[Shape]]
    """Sizes of the batches of each."""
    before_bytes: int | None
    """Memory in use before the first step."""
    peak_bytes: int | None
    reason: str = ""
    """Why there is no peak."""


def count_laws(trial: TunerTrial) -> Laws:
    """Count forward, backward and kept bytes on a few short batches, and find their laws.

    Nothing is updated; batch norms that train move their figures, as in any step.
    """
    assembly, encoded = trial.assembly, trial.material.encoded["train"]
    assembly.checkpoints = trial.training.gradient_checkpointing
    arithmetic = Arithmetic(trial.training.precision, assembly.device)
    states = list_states(assembly)
    shapes: list[Shape] = []
    operations: list[tuple[int, int]] = []
    keeps: list[Reading[int]] = []
    with assembly.fitting():
        for rows in choose_samples(encoded):
            batch = encoded.collate(rows).to(assembly.device)
            _move_key(assembly)
            count = saved_bytes(states)

            def forward(batch: Batched = batch, count: AbstractContextManager[SavedBytes] = count) -> Tensor:
                with count as kept:
                    loss = _sum_loss(trial, arithmetic, batch)
                keeps.append(kept.reading)
                return loss

            counted = count_flops(forward, _go_back)
            shapes.append(shape_rows(encoded, rows))
            operations.append((counted.forward, counted.backward or 0))
    # The counter follows modules through autograd's graph, which inference mode does without.
    with assembly.predicting(), torch.inference_mode(mode=False), torch.no_grad(), arithmetic.forward():
        answers = [
            count_flops(lambda rows=rows: assembly(encoded.collate(rows).to(assembly.device))).forward
            for rows in choose_samples(encoded)
        ]
    _drop_gradients(assembly)
    why = next((one.reason for one in keeps if one.reason is not None), "")
    saved = None if why else fit_law(shapes, [one.value or 0 for one in keeps])
    laws = [fit_law(shapes, [one[place] for one in operations]) for place in (0, 1)]
    return Laws(laws[0], laws[1], fit_law(shapes, answers), saved, why)


def take_steps(trial: TunerTrial, steps: int = GAUGED_STEPS) -> Taken:
    """Take a few real steps of a candidate as its training would, after two that are not timed.

    Nothing else should have run in this process before, for its memory is read around them.
    """
    encoded, run = trial.material.encoded["train"], prepare_alone(trial)
    device = trial.assembly.device
    seen: list[list[Shape]] = []
    run.batches = _watch(run.batches, encoded, seen)
    meter, why = choose_meter(device)
    before = read_held(device)
    for _ in range(WARM_UP_STEPS):
        advance(run)
    if meter is not None:
        meter.reset()
    seconds = [_time_step(run) for _ in range(steps)]
    peak = None if meter is None else meter.read()
    return Taken(seconds, seen[WARM_UP_STEPS:], before, peak, why or "")


def find_rates(trial: TunerTrial, laws: Laws, taken: Taken) -> Rates:
    """Turn the timed steps into operations a second, and time forward passes and the optimizer by themselves."""
    wait = synchroniser(trial.assembly.device) or (lambda: None)
    forward, update = _time_forward(trial, laws, wait), time_update(trial.assembly.device)
    owned = _count(trial) * update
    backward = [
        _split(laws, step, took - owned, forward) for step, took in zip(taken.steps, taken.seconds, strict=True)
    ]
    predicting, alone = _time_predicting(trial, laws, wait)
    return Rates(forward, statistics.median(backward), predicting, alone, update)


def find_working(taken: Taken, laws: Laws, trained: int) -> tuple[float, float] | None:
    """Return how many times the bytes that its greatest step keeps a step works with, and the bytes beside.

    A process holds more than what is kept: gradients of rows on their way down, and room between what was freed. Where
    next to nothing is kept (a head alone), what the forward pass works with stands beside. None where it is not known.
    """
    if taken.peak_bytes is None or taken.before_bytes is None or laws.saved is None:
        return None
    kept = max(laws.saved(batch) for step in taken.steps for batch in step)
    risen = max(0.0, taken.peak_bytes - taken.before_bytes - trained * STATE_BYTES)
    working = min(max(risen / kept, 1.0), MOST_WORKING) if kept else 1.0
    return working, max(0.0, risen - working * kept)


def time_head(trial: TunerTrial, width: int) -> float:
    """Return the seconds of a step of a head that trains alone over features of a frozen trunk, of some width."""
    whole = trial.material.encoded["train"]
    rows = len(whole)
    count = min(rows, 8 * trial.training.batch_size)
    drawn = np.random.default_rng(0).standard_normal((count, width), np.float32)
    features = Features((FeatureTable(drawn, np.arange(rows) % count),), whole.targets, whole.lengths)
    material = replace(trial.material, encoded={**trial.material.encoded, "train": features})
    run = prepare_alone(replace(trial, material=material))
    return statistics.median([_time_step(run) for _ in range(WARM_UP_STEPS + GAUGED_STEPS)][WARM_UP_STEPS:])


def prepare_alone(trial: TunerTrial) -> Run:
    """Build a run that neither validates nor tells anybody."""
    run = trial.prepare()
    run.listeners = ()
    run.keeper.every = run.keeper.last = run.total_steps = 10**9
    return run


def read_held(device: torch.device) -> int | None:
    """Read the memory in use now: resident in this process, or given out on a GPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else read_rss().value


def time_update(device: torch.device) -> float:
    """Return the seconds that AdamW and the bounding of the gradient take for one trained number."""
    tensor = nn.Parameter(torch.zeros(TRIED_NUMBERS, device=device))
    optimizer = torch.optim.AdamW([tensor], lr=1e-3, fused=True)
    wait = synchroniser(device) or (lambda: None)
    seconds: list[float] = []
    for _ in range(TIMED_FORWARDS):
        tensor.grad = torch.full_like(tensor, 1e-3)
        start = perf_counter()
        torch.nn.utils.clip_grad_norm_([tensor], 1.0)
        optimizer.step()
        wait()
        seconds.append(perf_counter() - start)
    return min(seconds) / TRIED_NUMBERS


def estimate_step(laws: Laws, step: Sequence[Shape], rates: Rates, trained: int) -> float:
    """Return the seconds of one optimizer step over some batches."""
    forward, backward = laws.forward.total(step) / rates.forward, laws.backward.total(step) / rates.backward
    return forward + backward + trained * rates.update_seconds


def estimate_held(trained: int, working: float, *, accumulates: bool) -> float:
    """Return the bytes that training holds beside what its process had before, at their peak.

    As the backward pass goes on, the rows that were kept are freed and gradients take their place, so that the greater
    of the two counts; where gradients wait for further batches both do.
    """
    gradients = trained * GRADIENT_BYTES
    return trained * STATE_BYTES + (gradients + working if accumulates else max(gradients, working))


def list_states(assembly: Assembly) -> list[Tensor]:
    """List the tensors that a forward pass keeps by reference: weights and buffers of trunk and head."""
    trunk = assembly.backbone.trunk
    states = [*trunk.parameters(), *trunk.buffers(), *assembly.head.parameters()]
    output = assembly.backbone.output
    return states if output is None else [*states, *output.buffers()]


def _watch(batches: Iterator[list[Batched]], encoded: EncodedRows, seen: list[list[Shape]]) -> Iterator[list[Batched]]:
    for group in batches:
        seen.append([shape_rows(encoded, batch.rows) for batch in group])
        yield group


def _time_step(run: Run) -> float:
    wait = synchroniser(run.assembly.device) or (lambda: None)
    start = perf_counter()
    advance(run)
    wait()
    return perf_counter() - start


def _split(laws: Laws, step: Sequence[Shape], seconds: float, forward: float) -> float:
    """Return the operations a second of a step's backward pass: what the forward pass does not explain is its."""
    left = max(seconds - laws.forward.total(step) / forward, LEAST_BACKWARD * seconds)
    backward = laws.backward.total(step)
    return backward / left if backward and left > 0 else forward


def _time_forward(trial: TunerTrial, laws: Laws, wait: Callable[[], object]) -> float:
    """Return the operations a second of a training step's forward pass."""
    encoded = trial.material.encoded["train"]
    arithmetic = Arithmetic(trial.training.precision, trial.assembly.device)
    rows = _middle(encoded, trial.training.batch_size)
    batch = encoded.collate(rows).to(trial.assembly.device)
    rates: list[float] = []
    with trial.assembly.fitting():
        for _ in range(TIMED_FORWARDS):
            _move_key(trial.assembly)
            start = perf_counter()
            loss = _sum_loss(trial, arithmetic, batch)
            wait()
            rates.append(laws.forward(shape_rows(encoded, rows)) / (perf_counter() - start))
            del loss
    return statistics.median(rates)


def _time_predicting(trial: TunerTrial, laws: Laws, wait: Callable[[], object]) -> tuple[float, float]:
    """Return the operations a second of predicting a batch, and a row by itself."""
    encoded = trial.material.encoded["validation"]
    arithmetic = Arithmetic(trial.training.precision, trial.assembly.device)
    sizes = (min(trial.evaluation_batch, 2 * trial.training.batch_size), 1)
    found: list[float] = []
    with trial.assembly.predicting(), arithmetic.forward():
        for size in sizes:
            rows = _middle(encoded, size)
            batch = encoded.collate(rows).to(trial.assembly.device)
            rates: list[float] = []
            for _ in range(TIMED_FORWARDS):
                start = perf_counter()
                trial.assembly(batch)
                wait()
                rates.append(laws.answering(shape_rows(encoded, rows)) / (perf_counter() - start))
            found.append(statistics.median(rates))
    return found[0], found[1]


def _middle(encoded: EncodedRows, size: int) -> np.ndarray:
    """Return so many rows of middling length."""
    order = np.argsort(encoded.lengths, kind="stable")
    start = max(0, (len(order) - size) // 2)
    return order[start : start + size]


def _count(trial: TunerTrial) -> int:
    return sum(tensor.numel() for tensor in trial.assembly.attachment.trained.values())


def _move_key(assembly: Assembly) -> None:
    key = assembly.attachment.key
    if key is not None:
        key.advance()
        seed_modules(key.derive("modules"), assembly.device)


def _sum_loss(trial: TunerTrial, arithmetic: Arithmetic, batch: Batched) -> Tensor:
    with arithmetic.forward():
        outputs = trial.assembly(batch)
    return trial.material.task.loss(outputs, batch.targets)[0]


def _go_back(loss: Tensor) -> None:
    loss.backward()


def _drop_gradients(assembly: Assembly) -> None:
    for tensor in assembly.attachment.trained.values():
        tensor.grad = None
