"""Predict a split batch by batch: nothing but a batch's logits is ever held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple, cast

import numpy as np
import torch

from whichtune.data.examples import Example
from whichtune.engine.assembly import Assembly
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.portions import count_passed, go_through, group_rows
from whichtune.engine.speaking import Speaker
from whichtune.engine.writing import Interview, answer_in_words
from whichtune.errors import NonFiniteError
from whichtune.models.batch import Batched, Encoded, EncodedRows
from whichtune.records.predictions import Predictions
from whichtune.tasks.contract import HeadTask, Task, WrittenTask
from whichtune.tasks.scored import Scored, gather


class Part(NamedTuple):
    """A batch that was predicted."""

    places: np.ndarray
    """Of its rows among those of the split."""
    scored: Scored
    seconds: float
    """Of each row."""


def by_length(encoded: EncodedRows, size: int) -> Iterator[Batched]:
    """Yield batches of rows of like length, longest first, so that a batch that does not fit fails at once."""
    order = np.argsort(-encoded.lengths, kind="stable")
    for start in range(0, len(order), size):
        yield encoded.collate(order[start : start + size])


def predict(
    assembly: Assembly,
    task: Task,
    split: str,
    rows: tuple[Sequence[Example], EncodedRows],
    size: int,
    arithmetic: Arithmetic,
) -> tuple[Predictions, bool]:
    """Predict every row once; return the predictions in the examples' order, and whether they were made merged."""
    with assembly.predicting() as merged:
        return answer_rows(assembly, task, split, rows, size, arithmetic), merged


def glance(
    assembly: Assembly,
    task: WrittenTask,
    split: str,
    rows: tuple[Sequence[Example], EncodedRows],
    size: int,
    arithmetic: Arithmetic,
) -> Predictions:
    """Measure a split while training a model that answers in words: its loss, without writing anything."""
    with assembly.predicting():
        speaker = Speaker(assembly.backbone, arithmetic, assembly.attachment.inputs)
        return answer_in_words(Interview(speaker, task.asking, size, depth="glance"), split, *written_rows(rows))


def answer_rows(
    assembly: Assembly,
    task: Task,
    split: str,
    rows: tuple[Sequence[Example], EncodedRows],
    size: int,
    arithmetic: Arithmetic,
) -> Predictions:
    """Predict every row once with a model that is in its predicting state already, in the examples' order."""
    encoded = rows[1]
    if task.head().tokens:
        speaker = Speaker(assembly.backbone, arithmetic, assembly.attachment.inputs)
        seed = 0 if assembly.attachment.key is None else assembly.attachment.key.streams.derive("sample", "answers")
        return answer_in_words(
            Interview(speaker, cast(WrittenTask, task).asking, size, seed), split, *written_rows(rows)
        )
    task = cast(HeadTask, task)
    parts: list[Part] = []

    def answer(some: np.ndarray) -> None:
        start = perf_counter()
        moved = encoded.collate(some).to(assembly.device)
        outputs = assembly(moved)
        if not bool(torch.isfinite(outputs).all()):
            raise NonFiniteError(f"outputs on {split} rows are not numbers: the training diverged")
        scored = task.score(outputs, moved.targets)
        parts.append(Part(some, scored, (perf_counter() - start) / len(some)))

    with arithmetic.forward():
        groups = group_rows(encoded.lengths, size, count_passed(assembly.backbone, assembly.device))
        go_through(groups, answer, assembly.device)
    return tabulate_parts(task, split, rows, parts)


def tabulate_parts(
    task: HeadTask, split: str, rows: tuple[Sequence[Example], EncodedRows], parts: Sequence[Part]
) -> Predictions:
    """Put batches that were predicted back into the examples' order, beside them."""
    examples, encoded = rows
    places = [one.places for one in parts]
    table = task.tabulate(split, examples, gather([one.scored for one in parts], places))
    seconds = np.concatenate([np.full(len(one.places), one.seconds, np.float32) for one in parts])
    table.batch_seconds = seconds[np.argsort(np.concatenate(places), kind="stable")]
    table.tokens_in = encoded.lengths.astype(np.int32)
    return table


def written_rows(rows: tuple[Sequence[Example], EncodedRows]) -> tuple[Sequence[Example], Encoded]:
    """Return rows whose answers are written: they are texts."""
    examples, encoded = rows
    assert isinstance(encoded, Encoded)  # noqa: S101 - such tasks encode nothing else
    return examples, encoded
