"""Learning curves from the records: few enough points to draw, of the candidates that have colours of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from whichtune.records.folder import StudyFolder, read_lines

POINTS, FEWEST, STEPS = 60, 12, 4
"""At most so many points of a training's loss are kept, each the mean over its part of the steps; a part has so many
steps at least, but for trainings so short that fewer points than the second figure would be left."""


@dataclass(frozen=True)
class Curve:
    """One training: step and mean loss up to it, and the validations."""

    candidate: str
    seed: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    """Step and score, higher is better."""


def read_curve(folder: StudyFolder, trial: str, candidate: str, seed: int) -> Curve:
    """Read the curve of one trial and thin it out."""
    lines = list(read_all(folder.trial(trial).curve))
    steps = [(int(line["step"]), float(line["loss"])) for line in lines if _is_number(line.get("loss"))]
    validated = [line for line in lines if _is_number(line.get("validation_score"))]
    scores = [(int(line["step"]), float(line["validation_score"])) for line in validated]
    return Curve(candidate, seed, thin(steps), scores)


def thin(steps: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return a few points; each stands at the end of its part of the steps and holds the part's mean."""
    count = min(len(steps), POINTS, max(FEWEST, len(steps) // STEPS))
    edges = [round(place * len(steps) / count) for place in range(count + 1)] if count else []
    parts = (steps[start:end] for start, end in pairwise(edges))
    return [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts]


def read_all(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read a JSON-lines file at once; one that was cut short is read line by line."""
    if not path.is_file():
        return
    lines = path.read_bytes().split(b"\n")
    try:
        found: list[Any] = json.loads(b"[" + b",".join(line for line in lines if line) + b"]")
    except ValueError:
        yield from read_lines(path)
    else:
        yield from (line for line in found if isinstance(line, dict))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
