"""Predictions of several adapters in one pass over their rows (T1), where the rows of each alone would fill no batch.

Adapters stand unmerged beside one another, each over its own rows, as in a training pass they share. With as many rows
as make a batch, passes one after another are as few and are merged, which is less to multiply.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.portions import count_passed, go_through, group_rows
from whichtune.engine.predict import Part, tabulate_parts
from whichtune.engine.slots import SlotAssembly, join_batches, run_together
from whichtune.engine.trial import TunerTrial
from whichtune.measure.modes import modes
from whichtune.models.batch import Batch
from whichtune.records.predictions import Predictions
from whichtune.tasks.contract import HeadTask


def count_together(trials: Sequence[TunerTrial], split: str) -> int:
    """Return of how many trials one batch holds all rows of a split; below 2 each predicts alone.

    Answers in words are written alone: how many texts are written at a time is a matter of the memory that their keys
    and values take, and those of one trial are as many.
    """
    if any(one.material.task.head().tokens for one in trials):
        return 0
    sizes = {len(one.material.encoded[split]) for one in trials}
    return trials[0].evaluation_batch // sizes.pop() if len(sizes) == 1 else 0


def predict_together(trials: Sequence[TunerTrial], split: str, arithmetic: Arithmetic) -> list[Predictions | None]:
    """Predict every row of a split with every trial's present weights; None for one whose outputs are not numbers.

    Every trial has equally many rows. Raises `UnsupportedError` where a trunk's pass cannot be shared, and
    `DoesNotFitError`.
    """
    assemblies = [cast(SlotAssembly, one.assembly) for one in trials]
    first, lengths = assemblies[0], trials[0].material.encoded[split].lengths
    active = [module for one in assemblies for module in one.attachment.active]
    tasks = [cast(HeadTask, one.material.task) for one in trials]
    found: list[list[Part]] = [[] for _ in trials]
    sound = [True] * len(trials)

    def answer(rows: np.ndarray) -> None:
        start = perf_counter()
        batches = [cast(Batch, one.material.encoded[split].collate(rows)) for one in trials]
        outputs = _answer_all(assemblies, batches)
        good = [bool(torch.isfinite(own).all()) for own in outputs]
        trios = zip(tasks, outputs, batches, strict=True)
        scored = [task.score(own, batch.targets.to(first.device)) for task, own, batch in trios]
        seconds = (perf_counter() - start) / len(rows) / len(trials)
        for place in range(len(trials)):
            sound[place] &= good[place]
            found[place].append(Part(rows, scored[place], seconds))

    with ExitStack() as stack:
        stack.enter_context(modes((), nn.ModuleList([first.backbone.trunk, *active])))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(arithmetic.forward())
        most = max(1, count_passed(first.backbone, first.device) // len(trials))
        go_through(group_rows(lengths, len(lengths), most), answer, first.device)
    places = range(len(trials))
    return [
        tabulate_parts(tasks[place], split, trials[place].rows(split), found[place]) if sound[place] else None
        for place in places
    ]


def _answer_all(assemblies: Sequence[SlotAssembly], batches: Sequence[Batch]) -> list[Tensor]:
    """Return the outputs of each trial over its own batch, of one pass."""
    joint = join_batches(assemblies, batches)
    hidden = zip(assemblies, run_together(assemblies, joint), joint.members, strict=True)
    return [one.head.answer(one.backbone, rows, own.layout, one.attachment.pooling) for one, rows, own in hidden]
