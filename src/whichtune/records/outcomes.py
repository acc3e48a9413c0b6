"""Two runs of one trial beside each other: what differs, by how much, and whether noise explains it.

Four kinds of things are compared. What was *given* (rows, gold answers, prompts, learning rates, counts) must be the
same. *Numbers* (losses, probabilities, gradient norms) may lie apart by rounding, as a share of their own spread.
*Answers* may differ in a few rows, where two of them were as good as equal. *Results* (metrics, ranks, trained
tensors) follow from the others, and may differ only where those do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from whichtune.records.predictions import Predictions
from whichtune.records.trial import TrialRecord

LEAST_AGREEMENT = 0.995
"""Share of rows that must be answered alike."""
GIVEN_COLUMNS = ("ids", "gold", "group", "prompt_hash", "tokens_in")
ANSWER_COLUMNS = ("parsed", "raw", "tokens_out")
NUMBER_COLUMNS = ("probabilities", "confidence", "loss")
COUNTS = ("trained_names", "matched_modules", "steps", "epochs", "kept_step", "evaluated_merged", "cuts")
"""Fields of a record that no rounding moves."""
STEADY = 0.05
"""Least spread that numbers count as having, as a share of the greatest: float32 rounds steadier ones too much."""

Kind = Literal["given", "answer", "number", "result"]
Lines = Sequence[Mapping[str, Any]]


class Difference(BaseModel):
    """One thing that came out otherwise."""

    part: str
    """Where: the predictions of a split, the curve, the counts, the scores, the trained tensors."""
    name: str
    kind: Kind
    differing: int
    """So many values differ."""
    values: int
    """Of so many."""
    greatest: float | None = None
    """Greatest absolute difference; None where the values are no numbers, or not finite."""
    distance: float | None = None
    """The same as a share of the standard deviation of the recorded values, or of a twentieth of the greatest."""
    example: str = ""
    """The first that differs: recorded, then again."""
    noise: bool
    """Whether noise explains it."""


@dataclass(frozen=True)
class Apart:
    """How far two arrays of numbers lie apart."""

    differing: int
    greatest: float | None
    distance: float | None

    def within(self, tolerance: float) -> bool:
        """Whether the distance is known and small enough."""
        return self.distance is not None and self.distance <= tolerance


def compare_predictions(
    recorded: Mapping[str, Predictions], again: Mapping[str, Predictions], tolerance: float
) -> list[Difference]:
    """List what differs in the predictions of two runs, split by split; times are no part of an outcome."""
    if list(recorded) != list(again):
        return [given("predictions", "splits", list(recorded), list(again))]
    return [one for split in recorded for one in _compare_split(recorded[split], again[split], tolerance)]


def compare_curves(recorded: Lines, again: Lines, tolerance: float, *, shared: bool = False) -> list[Difference]:
    """List what differs in the learning curves: losses, gradient norms and rates by step, scores by validation.

    `shared` says that a pass was shared with other trials: weights are rounded otherwise where no loss shows it.
    """
    places = [[(line.get("step"), "loss" in line) for line in lines] for lines in (recorded, again)]
    if places[0] != places[1]:
        return [given("curve", "lines", f"{len(recorded)} lines", f"{len(again)} lines")]
    found = [*_compare_rates(recorded, again)]
    for name in ("loss", "gradient_norm"):
        pair = [np.array([_number(line[name]) for line in lines if name in line]) for lines in (recorded, again)]
        found += _compare_numbers("curve", name, (pair[0], pair[1]), tolerance)
    moved = shared or any(one.kind == "number" for one in found)
    checks = [_checks(lines) for lines in (recorded, again)]
    return found + list(compare_results("curve", checks[0], checks[1], moved=moved))


def compare_counts(recorded: TrialRecord, again: TrialRecord, *, shared: bool = False) -> list[Difference]:
    """List parameter counts, tensors held, steps and cut texts that differ.

    `shared` says that a pass was shared with other trials: then they may have been evaluated together, unmerged.
    """
    names = [name for name in COUNTS if not (shared and name == "evaluated_merged")]
    sides = [
        {f"parameters.{name}": value for name, value in one.parameters.model_dump().items()}
        | {name: getattr(one, name) for name in names}
        for one in (recorded, again)
    ]
    return [given("counts", name, own, sides[1][name]) for name, own in sides[0].items() if own != sides[1][name]]


def compare_scores(recorded: TrialRecord, again: TrialRecord, moved: Iterable[str]) -> list[Difference]:
    """List the metrics that differ, by split; they may where the predictions of the split have `moved`."""
    free = set(moved)
    found: list[Difference] = []
    for split in dict.fromkeys([*recorded.scores, *again.scores]):
        sides = [{} if split not in one.scores else flatten_scores(one, split) for one in (recorded, again)]
        found += compare_results(f"scores ({split})", sides[0], sides[1], moved=split in free)
    return found


def compare_results(
    part: str, recorded: Mapping[str, Any], again: Mapping[str, Any], *, moved: bool
) -> Iterator[Difference]:
    """Yield the named values that differ; where what they follow from has not moved, nothing explains it."""
    for name in dict.fromkeys([*recorded, *again]):
        left, right = recorded.get(name), again.get(name)
        if left != right:
            numbers = [float(one) for one in (left, right) if isinstance(one, float | int)]
            greatest = abs(numbers[0] - numbers[1]) if len(numbers) == 2 else None
            example = f"{_show(left)} -> {_show(right)}"
            yield Difference(
                part=part,
                name=name,
                kind="result",
                differing=1,
                values=1,
                greatest=greatest,
                example=example,
                noise=moved,
            )


def measure_apart(recorded: np.ndarray, again: np.ndarray, among: np.ndarray | None = None) -> Apart:
    """Measure how far numbers lie apart, by the spread of the recorded ones; where they hardly vary, by their size.

    Where the recorded ones were picked from `among` others, the spread of all of those counts.
    """
    with np.errstate(invalid="ignore"):
        left, right = recorded.astype(np.float64), again.astype(np.float64)
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        away = np.abs(left - right)[~same]
    if not len(away):
        return Apart(0, 0.0, 0.0)
    if not np.isfinite(away).all():
        return Apart(len(away), None, None)
    spreading = left if among is None else among.astype(np.float64)
    known = spreading[np.isfinite(spreading)]
    size, spread = float(np.abs(known).max()), float(known.std())
    scale = max(spread, STEADY * size, 1e-12)
    return Apart(len(away), float(away.max()), float(away.max()) / scale)


def flatten_scores(record: TrialRecord, split: str) -> dict[str, Any]:
    """Name every score of a split: metrics, figures of each class, the confusion, unread answers."""
    scores = record.scores[split]
    found: dict[str, Any] = {one.name: one.value for one in scores.metrics}
    for own in scores.classes:
        figures = own.model_dump(exclude={"label"})
        found |= {f"{own.label}: {name}": value for name, value in figures.items()}
    return found | scores.model_dump(exclude={"metrics", "classes"})


def given(part: str, name: str, recorded: object, again: object) -> Difference:
    """Describe one value that must be the same, and is not."""
    example = f"{_show(recorded)} -> {_show(again)}"
    return Difference(part=part, name=name, kind="given", differing=1, values=1, example=example, noise=False)


def moved_splits(differences: Iterable[Difference]) -> set[str]:
    """Name the splits in whose predictions anything differs."""
    parts = {one.part for one in differences if one.part.startswith("predictions (")}
    return {part.removeprefix("predictions (").removesuffix(")") for part in parts}


def share_agreement(recorded: Mapping[str, Predictions], again: Mapping[str, Predictions]) -> float | None:
    """Return the least share of rows answered alike over the splits; None where the rows are not the same."""
    shares: list[float] = []
    for split, own in recorded.items():
        other = again.get(split)
        if other is None or own.ids != other.ids or not own.ids:
            return None
        shares.append(sum(a == b for a, b in zip(own.parsed, other.parsed, strict=True)) / len(own.ids))
    return min(shares, default=None)


def _compare_split(recorded: Predictions, again: Predictions, tolerance: float) -> Iterator[Difference]:
    part = f"predictions ({recorded.split})"
    if recorded.labels != again.labels:
        yield given(part, "labels", recorded.labels, again.labels)
    if recorded.ids != again.ids:
        yield _compare_ids(part, recorded.ids, again.ids)
        return
    alike = np.ones(len(recorded.ids), bool)
    for name in (*GIVEN_COLUMNS[1:], *ANSWER_COLUMNS):
        left, right = (_listed(getattr(one, name), len(alike)) for one in (recorded, again))
        same = np.array([a == b for a, b in zip(left, right, strict=True)], bool)
        if not same.all():
            kind: Kind = "given" if name in GIVEN_COLUMNS else "answer"
            row = int(np.argmin(same))
            yield Difference(
                part=part,
                name=name,
                kind=kind,
                differing=int((~same).sum()),
                values=len(same),
                example=f"row {recorded.ids[row]}: {_show(left[row])} -> {_show(right[row])}",
                noise=kind == "answer" and bool(same.mean() >= LEAST_AGREEMENT),
            )
        if name in {"raw", "parsed"}:
            alike &= same
    moved = not alike.all()
    for difference in _compare_columns(part, recorded, again, (alike, tolerance)):
        moved = True
        yield difference
    yield from _compare_ranks(part, recorded, again, moved=moved)


def _compare_columns(
    part: str, recorded: Predictions, again: Predictions, how: tuple[np.ndarray, float]
) -> Iterator[Difference]:
    """Compare numbers; an answer that is another one has numbers of its own, and is counted as an answer."""
    alike, tolerance = how
    for name in NUMBER_COLUMNS:
        left, right = getattr(recorded, name), getattr(again, name)
        if (left is None) != (right is None) or (left is not None and left.shape != right.shape):
            yield given(part, name, *("none" if one is None else f"{one.shape}" for one in (left, right)))
        elif left is not None:
            rows = alike if name != "probabilities" else np.ones_like(alike)
            among = recorded.probabilities if name == "confidence" else None
            yield from _compare_numbers(part, name, (left[rows], right[rows]), tolerance, among)


def _compare_numbers(
    part: str, name: str, pair: tuple[np.ndarray, np.ndarray], tolerance: float, among: np.ndarray | None = None
) -> Iterator[Difference]:
    if pair[0].tobytes() == pair[1].tobytes():
        return
    apart = measure_apart(*pair, among)
    differing = apart.differing or int((np.signbit(pair[0]) != np.signbit(pair[1])).sum())
    yield Difference(
        part=part,
        name=name,
        kind="number",
        differing=differing,
        values=pair[0].size,
        greatest=apart.greatest,
        distance=apart.distance,
        noise=apart.within(tolerance),
    )


def _compare_ranks(part: str, recorded: Predictions, again: Predictions, *, moved: bool) -> Iterator[Difference]:
    left, right = (_listed(one.gold_rank, len(one.ids)) for one in (recorded, again))
    differing = sum(a != b for a, b in zip(left, right, strict=True))
    if differing:
        yield Difference(part=part, name="gold_rank", kind="result", differing=differing, values=len(left), noise=moved)


def _compare_ids(part: str, recorded: Sequence[str], again: Sequence[str]) -> Difference:
    if len(recorded) != len(again):
        return given(part, "rows", len(recorded), len(again))
    differing = [place for place, (a, b) in enumerate(zip(recorded, again, strict=True)) if a != b]
    example = f"{recorded[differing[0]]} -> {again[differing[0]]}"
    count = len(differing)
    return Difference(
        part=part, name="rows", kind="given", differing=count, values=len(recorded), example=example, noise=False
    )


def _compare_rates(recorded: Lines, again: Lines) -> Iterator[Difference]:
    name = "learning_rate"
    left, right = ([line.get(name) for line in lines if "loss" in line] for lines in (recorded, again))
    differing = [place for place, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    if differing:
        example = f"{_show(left[differing[0]])} -> {_show(right[differing[0]])}"
        count = len(differing)
        yield Difference(
            part="curve", name=name, kind="given", differing=count, values=len(left), example=example, noise=False
        )


def _checks(lines: Lines) -> dict[str, Any]:
    """Name every figure of every validation by its step."""
    found: dict[str, Any] = {}
    for line in lines:
        if "validation_score" in line:
            front = f"validation at step {line['step']}"
            found[f"{front}: score"] = line["validation_score"]
            found |= {f"{front}: {name}": value for name, value in (line.get("validation") or {}).items()}
    return found


def _listed(column: Any, count: int) -> list[Any]:
    if column is None:
        return [None] * count
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return [None if isinstance(one, float) and np.isnan(one) else one for one in values]


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _show(value: object, most: int = 60) -> str:
    told = repr(value)
    return told if len(told) <= most else f"{told[: most - 3]}..."
