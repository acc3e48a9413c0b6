"""Whether two sides that chose their settings themselves come to the same verdict: who is best."""

from __future__ import annotations

from collections.abc import Mapping

from whichtune.bench.model import Marks
from whichtune.stats.best import measure_shortfalls
from whichtune.stats.intervals import sample_candidate


def compare_verdicts(own: Mapping[str, Marks], peer: Mapping[str, Marks], margin: float) -> tuple[bool, list[str]]:
    """Return whether both sides may call the same candidates best, and what each says.

    They do where some candidate is within the margin of both bests, and where the best of neither is shown by the other
    to be further below its best than the margin, by the verdict's own limits (95 %, all candidates together).
    """
    best, others = find_best(own, margin), find_best(peer, margin)
    open_own, open_peer = find_open(own, margin), find_open(peer, margin)
    within = f"within {100 * margin:g} points of the best"
    told = [
        f"{within}: {_list(best)}; of the peer {_list(others)}",
        f"not shown to lie further below: {_list(open_own)}; of the peer {_list(open_peer)}",
    ]
    first, second = (max(marks, key=lambda name: _mean(marks[name])) for marks in (own, peer))
    return bool(best & others) and first in open_peer and second in open_own, told


def find_best(marks: Mapping[str, Marks], margin: float) -> set[str]:
    """Name the candidates whose mean score is within the margin of the best."""
    means = {name: _mean(own) for name, own in marks.items()}
    return {name for name, mean in means.items() if mean >= max(means.values()) - margin}


def find_open(marks: Mapping[str, Marks], margin: float) -> set[str]:
    """Name the candidates that are not shown to be further below the best than the margin."""
    if len(marks) < 2:
        return set(marks)
    samples = [
        sample_candidate(name, own.ids, own.values.mean(axis=1), own.values, binary=own.binary)
        for name, own in marks.items()
    ]
    return {one.name for one in measure_shortfalls(samples) if one.least <= margin}


def _mean(marks: Marks) -> float:
    return float(marks.values.mean())


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
