"""The studies of the calibration are what they say, and their moments those of the package."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import (
    Candidates,
    Design,
    Moments,
    draw_answers,
    draw_chances,
    draw_f1,
    draw_losses,
    draw_pairs,
    draw_pushes,
    draw_studies,
    reduce_scores,
)

from whichtune.stats.best import bound_shortfalls, collect_gaps, measure_shortfalls
from whichtune.stats.intervals import sample_candidate

KNOWN = Candidates((0.8, 0.85, 0.7), (0.01, 0.02, 0.0), 0.7)


def agree(moments: Moments, place: int, scores: list[np.ndarray], totals=None, *, binary: bool = True) -> None:
    """Hold one study's differences to those of the package."""
    ids = [str(item) for item in range(scores[0].shape[1])]
    means = [one.mean(axis=1) for one in scores] if totals is None else totals
    named = zip("abc", means, scores, strict=False)
    gaps = collect_gaps([sample_candidate(name, ids, total, one, binary=binary) for name, total, one in named])
    ours = moments.gaps()
    off = ~np.eye(len(scores), dtype=bool)
    for name in ("value", "error", "df"):
        np.testing.assert_allclose(getattr(ours, name)[place][off], getattr(gaps, name)[off], rtol=1e-4, atol=1e-9)


def test_moments_are_those_of_the_package() -> None:
    generator = np.random.default_rng(0)
    chances = draw_chances(generator, KNOWN, 6, 80)
    scores = draw_answers(generator, chances, draw_pushes(generator, KNOWN, chances, 5))
    few, many = reduce_scores(scores[:, :, :3]), reduce_scores(scores)
    more = np.tile([True, False, True], (6, 1))
    mixed = few.choose(many, more)
    for place in range(6):
        agree(few, place, list(scores[place, :, :3]))
        agree(many, place, list(scores[place]))
        agree(mixed, place, [one if long else one[:3] for one, long in zip(scores[place], more[place], strict=True)])
    once = reduce_scores(scores[:, :, :1])
    agree(once, 0, list(scores[0, :, :1]))


def test_moments_of_scores_that_are_no_shares() -> None:
    generator = np.random.default_rng(1)
    scores = generator.gamma(2.0, size=(4, 2, 3, 50)) + generator.normal(0, 0.2, size=(4, 2, 3, 1))
    totals = scores.mean(-1) + generator.normal(0, 0.01, size=(4, 2, 3))
    moments = reduce_scores(scores, totals, binary=False)
    for place in range(4):
        agree(moments, place, list(scores[place]), list(totals[place]), binary=False)


def test_true_shares_and_spreads_are_those_stated() -> None:
    generator = np.random.default_rng(2)
    chances = draw_chances(generator, KNOWN, 2000, 200)
    np.testing.assert_allclose(chances.mean(axis=(0, 2)), KNOWN.shares, atol=0.003)
    pushes = draw_pushes(generator, KNOWN, chances, 8)
    moved = chances[..., None, :] + (chances * (1 - chances))[..., None, :] * pushes[..., None]
    assert moved.min() >= 0
    assert moved.max() <= 1
    by_seed = (chances * (1 - chances)).mean(-1)[..., None] * pushes
    np.testing.assert_allclose(by_seed.std(axis=(0, 2)), KNOWN.spreads, atol=0.002)
    assert np.abs(by_seed.mean(axis=(0, 2))).max() < 0.001
    with pytest.raises(ValueError, match="more than these items allow"):
        draw_pushes(generator, Candidates((0.97, 0.97), (0.02, 0.02)), chances[:, :2], 3)


def test_candidates_share_items_as_stated() -> None:
    generator = np.random.default_rng(3)
    for shared in (0.0, 0.7, 1.0):
        first, second = draw_chances(generator, Candidates((0.8, 0.8), (0, 0), shared), 1, 20000)[0]
        assert (first == second).mean() == pytest.approx(shared**2, abs=0.02)


def test_equal_means_of_other_metrics() -> None:
    for moments in (
        draw_losses(np.random.default_rng(4), 100, 3, (0.01, 0.03), 3000),
        draw_f1(np.random.default_rng(5), 60, 3, 0.01, 150),
    ):
        gap = moments.totals[:, 0] - moments.totals[:, 1]
        assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
        assert moments.totals.std() > 0


def test_contenders_get_more_trainings() -> None:
    known = Candidates((0.9, 0.89, 0.5), (0.01, 0.01, 0.01), 0.7)
    moments = draw_studies(np.random.default_rng(6), known, Design(100, validation=200), 30)
    assert set(np.unique(moments.seeds)) == {3, 8}
    assert (moments.seeds[:, 0] == 8).all()
    assert (moments.seeds[:, 2] == 3).all(), "ruled out on validation"
    assert (draw_studies(np.random.default_rng(7), known, Design(100, contender_seeds=3), 5).seeds == 3).all()
    assert draw_pairs(np.random.default_rng(8), known, 50, (3, 3), 4).seeds.tolist() == [[3, 3, 3]] * 4


def test_shortfalls_of_a_simulated_study_are_the_packages() -> None:
    generator = np.random.default_rng(9)
    chances = draw_chances(generator, KNOWN, 1, 120)
    scores = draw_answers(generator, chances, draw_pushes(generator, KNOWN, chances, 3))[0]
    ids = [str(item) for item in range(120)]
    samples = [sample_candidate(n, ids, x.mean(1), x, binary=True) for n, x in zip("abc", scores, strict=True)]
    limits = bound_shortfalls(reduce_scores(scores[None]).gaps())
    for place, told in enumerate(measure_shortfalls(samples)):
        assert told.least == pytest.approx(limits.least[0, place], abs=1e-6)
        assert told.alive == limits.alive[0, place]
