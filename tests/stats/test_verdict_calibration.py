"""A short calibration of whole verdicts: of 400 studies a case at most 31 may be wrong.

That is 7.75 %; a true rate of 5 % passes 31 once in a hundred draws, and the seeds are fixed. The long one, with 2,000
studies a cell over the whole grid, is `benchmarks/calibration.py`; cases, counts and limits here are its own.
"""

from __future__ import annotations

from dataclasses import replace

import calibration
import numpy as np
import pytest
from calibration import ANY, REALISTIC, Row, judge, limit, passes
from simulated import Candidates, Design, draw_answers, draw_chances, draw_pairs, draw_pushes, draw_studies, misses

from whichtune.stats.best import Gaps, bound_shortfalls
from whichtune.stats.intervals import quantile, sample_candidate
from whichtune.stats.power import items_needed

STUDIES = 400
ALLOWED = 31


def outside(count: int, margin: float, spread: float = 0.004) -> Candidates:
    """All but the dearest are just further below it than the margin."""
    return Candidates((0.85 - margin - 1e-4,) * (count - 1) + (0.85,), (spread,) * count)


def count_wrong(known: Candidates, design: Design, margin: float, seed: int) -> dict[str, int]:
    moments = draw_studies(np.random.default_rng([7, seed]), known, design, STUDIES)
    wrong, _ = judge(moments, known.shares, margin)
    return {what: int(found.sum()) for what, found in wrong.items()}


def test_the_bounds_are_those_stated() -> None:
    assert (limit(2000), limit(2000, wide=True), limit(STUDIES)) == (123, 160, ALLOWED)


@pytest.mark.parametrize(
    ("known", "margin"),
    [
        (Candidates((0.85,) * 7, (0.004,) * 7), 0.02),
        (Candidates((0.85,) * 10, (0.012,) * 10), 0.02),
        (outside(7, 0.02), 0.02),
        (outside(10, 0.02, 0.012), 0.02),
        (outside(7, 0.06), 0.06),
        (outside(2, 0.04), 0.04),
        (outside(7, 0.0498), 0.05),
    ],
    ids=["7 equal", "10 equal", "7 outside", "10 outside", "7 far outside", "2 outside", "7 inside"],
)
def test_verdicts_are_seldom_wrong(known, margin) -> None:
    for what, wrong in count_wrong(known, Design(400), margin, len(known.shares)).items():
        assert wrong <= ALLOWED, what


def test_a_realistic_study_is_not_abstained_from() -> None:
    """The long calibration asks for 90 % of 2,000; of 200 a true 90 % has fewer than 170 once in a hundred draws."""
    moments = draw_studies(np.random.default_rng(8), REALISTIC, Design(1000), 200)
    wrong, shown = judge(moments, REALISTIC.shares)
    assert shown.sum() >= 170
    assert wrong["recommended although worse by more than the margin"].sum() <= 18


@pytest.mark.parametrize(("times", "low", "high"), [(1, 0.7, 0.9), (2, 0.97, 1.0)])
def test_effects_that_a_study_calls_detectable_are_found(times, low, high) -> None:
    stated = calibration.state_effect(500, 8, 0.005)
    known = Candidates((0.8, 0.8 - times * stated), (0.005, 0.005))
    gaps = draw_pairs(np.random.default_rng(9), known, 500, (8, 8), STUDIES).gaps()
    found = misses(gaps) & (gaps.value[:, 0, 1] > 0)
    assert low <= found.mean() <= high


def test_the_bound_can_fail_without_seeds() -> None:
    """The variance between items alone, as a bootstrap over items has it, lets far too many wrong verdicts through."""
    known = outside(7, 0.03, 0.015)
    moments = draw_studies(np.random.default_rng(10), known, Design(1000, contender_seeds=3), 100)
    blind = replace(moments, s2=np.zeros_like(moments.s2), c2=np.zeros_like(moments.c2))
    wrong, _ = judge(blind, known.shares, 0.03)
    assert wrong[ANY].sum() > limit(100)
    right, _ = judge(moments, known.shares, 0.03)
    assert right[ANY].sum() <= limit(100)


def test_the_cheapest_without_a_significant_difference_is_often_wrong() -> None:
    """The usual rule: the cheapest that does not differ from the best estimate at 5 %."""
    known = outside(7, 0.02)
    gaps = draw_studies(np.random.default_rng(11), known, Design(400), STUDIES).gaps()
    best = gaps.value.min(-1).argmax(-1)
    rows = np.arange(STUDIES)
    gap, spread, df = (each[rows, best] for each in (gaps.value, gaps.error, gaps.df))
    alike = gap <= quantile(0.975, df) * spread
    assert (alike.argmax(-1) < 6).mean() > 0.5


def test_error_shared_by_those_alive_only_is_too_sharp() -> None:
    """Who is alive was found on the same items: sharing 4 % by A-1 instead of K-1 breaks the bound that K-1 keeps."""
    studies, margin = 800, 0.107
    known = Candidates((0.6 - margin - 1e-4,) * 6 + (0.6,), (0.004,) * 7)
    gaps = draw_studies(np.random.default_rng(12), known, Design(300, 8, 8), studies).gaps()
    limits = bound_shortfalls(gaps)
    wrong = recommended_wrongly(limits.bound, margin)
    assert wrong <= limit(studies)
    assert recommended_wrongly(share_by_alive(gaps, limits.alive), margin) > limit(studies)


def share_by_alive(gaps: Gaps, alive: np.ndarray) -> np.ndarray:
    others = np.maximum(alive.sum(-1) - 1, 1)[:, None, None]
    above = quantile(1 - 0.04 / others, gaps.df) * gaps.error - gaps.value
    rivals = alive[:, None, :] & ~np.eye(alive.shape[-1], dtype=bool)
    return np.where(alive, np.maximum(np.where(rivals, above, 0).max(-1), 0), np.inf)


def recommended_wrongly(bounds: np.ndarray, margin: float) -> int:
    within = bounds <= margin
    return int((within.any(-1) & (within.argmax(-1) < bounds.shape[-1] - 1)).sum())


def test_planned_items_settle_the_question() -> None:
    """The middle one of nine plans for 80 % power shows the target in 70 to 92 % of the studies that it asks for."""
    known = Candidates((0.8, 0.8), (0.003, 0.003))
    asked = [plan(seed, known) for seed in range(9)]
    items = int(np.median([each for each in asked if each is not None]))
    assert items > 300
    gaps = draw_pairs(np.random.default_rng(13), known, items, (8, 8), STUDIES).gaps()
    shown = quantile(0.96, gaps.df[:, 0, 1]) * gaps.error[:, 0, 1] - gaps.value[:, 0, 1] <= 0.03
    assert 0.7 <= shown.mean() <= 0.92


def plan(seed: int, known: Candidates) -> int | None:
    """Plan from a study of 300 items whose estimates are those of the truth."""
    generator = np.random.default_rng([14, seed])
    chances = draw_chances(generator, known, 1, 300)
    scores = draw_answers(generator, chances, draw_pushes(generator, known, chances, 8))[0]
    ids = [str(item) for item in range(300)]
    made = [sample_candidate(name, ids, one.mean(1), one, binary=True) for name, one in zip("ab", scores, strict=True)]
    return items_needed(*(replace(one, total=0.8) for one in made), 0.03)


def row(count: int, again: int | None = None) -> Row:
    return Row("cell", "missed", count, 0, 123, again)


def test_when_a_grid_is_kept() -> None:
    fine = [row(100)] * 60
    assert passes(fine)
    assert passes([*fine, row(124, 110)]), "one in fifty, and the second draw keeps the limit"
    assert not passes([*fine, row(124, 124)])
    assert not passes([*fine, row(124, 110), row(130, 90)]), "two in sixty-two are more than one in fifty"
    assert not passes([row(100)] * 19 + [row(124, 110)]), "few cells: none may"
    assert not passes([*fine, Row("power", "shown", 1700, 1800, 2000)]), "power is asked for once"
