"""Two candidates over sizes: paired by chain, called together, bracketed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from whichtune.stats.crossings import Bracket, compare_over_sizes, pair_by_chain

ITEMS = 400


def chains(generator, share: float, spread: float, shifts, count: int = 6):
    """Scores by chain: the draw of the subset moves both candidates, and each of its own."""
    difficulty = np.random.default_rng(9).random(ITEMS)
    found = {}
    for chain in range(count):
        moved = share + shifts[chain] + generator.normal(0, spread)
        right = (0.6 * difficulty + 0.4 * generator.random(ITEMS) < moved).astype(float)
        found[chain] = (float(right.mean()), right)
    return found


def study(gaps, seed: int = 0, spread: float = 0.01, count: int = 6):
    generator = np.random.default_rng(seed)
    scores = {}
    for size, gap in gaps.items():
        shifts = generator.normal(0, 0.05, count)
        scores[size] = tuple(chains(generator, 0.6 + half, spread, shifts, count) for half in (gap / 2, -gap / 2))
    return scores


def test_pairs_are_those_of_the_differences_within_chains() -> None:
    first, second = study({32: 0.1}, seed=3)[32]
    gap = pair_by_chain(first, second)
    differences = np.stack([first[chain][1] - second[chain][1] for chain in range(6)])
    totals, means = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - means - totals[:, None] + totals.mean()
    flips = (rest**2).sum() / (ITEMS - 1) / 5 / ITEMS
    assert gap.value == pytest.approx(totals.mean())
    assert gap.item_variance == pytest.approx(means.var(ddof=1) / ITEMS)
    assert gap.seed_variance == pytest.approx(max(0, totals.var(ddof=1) - flips) / 6)
    assert pair_by_chain(first, second, binary=True).item_variance == pytest.approx(gap.item_variance + 2 / ITEMS**2)
    shifted = dict(reversed(first.items()))
    assert pair_by_chain(shifted, second).value == pytest.approx(gap.value), "by the chain's seed, not by place"


def test_a_crossing_is_bracketed() -> None:
    found = compare_over_sizes("prompting", "lora", study({32: 0.2, 128: 0.15, 512: -0.15, 2000: -0.2}), binary=True)
    assert [gap.size for gap in found.gaps] == [32, 128, 512, 2000]
    assert [gap.ahead for gap in found.gaps] == ["prompting", "prompting", "lora", "lora"]
    assert found.brackets == (Bracket(128, 512, "prompting", "lora"),)
    gap = found.gaps[0]
    quantile = stats.t.ppf(1 - 0.05 / 4 / 2, gap.gap.df)
    assert (gap.low, gap.high) == pytest.approx(
        (gap.gap.value - quantile * gap.gap.standard_error, gap.gap.value + quantile * gap.gap.standard_error)
    )


def test_a_size_that_is_not_settled_widens_the_bracket() -> None:
    found = compare_over_sizes("a", "b", study({32: 0.2, 128: 0.0, 512: -0.2}, seed=1))
    assert found.gaps[1].ahead is None
    assert found.brackets == (Bracket(32, 512, "a", "b"),)


def test_there_and_back() -> None:
    found = compare_over_sizes("a", "b", study({1: 0.2, 2: -0.2, 3: 0.2}))
    assert found.brackets == (Bracket(1, 2, "a", "b"), Bracket(2, 3, "b", "a"))


def test_no_crossing_without_both_ahead() -> None:
    assert compare_over_sizes("a", "b", study({32: 0.2, 128: 0.2})).brackets == ()
    assert compare_over_sizes("a", "b", {}).gaps == ()


def test_few_chains_show_nobody_ahead() -> None:
    found = compare_over_sizes("a", "b", study({32: 0.3, 512: -0.3}, count=4))
    assert [gap.ahead for gap in found.gaps] == [None, None]
    assert found.brackets == ()
    assert [gap.chains for gap in found.gaps] == [4, 4]
    scores = study({32: 0.3, 512: -0.3})
    scores[512] = ({0: scores[512][0][0]}, scores[512][1])
    assert [gap.size for gap in compare_over_sizes("a", "b", scores).gaps] == [32], "one shared chain is no pair"


def test_calls_at_all_sizes_are_wrong_together_in_one_of_twenty() -> None:
    """Of 200 studies without any difference at most 19 may call one: a true rate of 5 % passes that once in 250."""
    wrong = 0
    for seed in range(200):
        found = compare_over_sizes("a", "b", study(dict.fromkeys((32, 128, 512), 0.0), seed, 0.03), binary=True)
        wrong += any(gap.ahead for gap in found.gaps)
    assert wrong <= 19


def test_items_alone_would_call_far_too_many() -> None:
    wrong = 0
    for seed in range(100):
        first, second = study({32: 0.0}, seed, 0.03, count=1)[32]
        gap = first[0][1] - second[0][1]
        wrong += abs(gap.mean()) > 1.96 * gap.std(ddof=1) / np.sqrt(ITEMS)
    assert wrong > 15, "one chain: what another draw of the training rows does is left out"
