"""Made-up studies, thousands at a time: their moments as arrays with a leading axis of studies, for the calibration.

The moments are those of `whichtune.stats`, written for many studies at once; what is decided from them is the package's
own code. `tests/stats/test_simulated.py` holds the two writings of the moments together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whichtune.stats.best import Gaps, bound_shortfalls
from whichtune.stats.intervals import quantile
from whichtune.stats.pseudo import f1_pseudo_values

CHUNK = 12_000_000
"""Item scores that are in memory at a time."""


@dataclass(frozen=True)
class Moments:
    """Of R studies with K candidates and n items."""

    totals: np.ndarray
    """Mean over seeds of the metric, [R, K]."""
    means: np.ndarray
    """Mean over seeds of each item's score, [R, K, n]."""
    s2: np.ndarray
    c2: np.ndarray
    seeds: np.ndarray
    """Trainings, [R, K]."""
    binary: bool = True

    def gaps(self) -> Gaps:
        """Differences of all pairs, [R, K, K]."""
        items = self.means.shape[-1]
        centred = self.means - self.means.mean(-1, keepdims=True)
        products = centred @ centred.swapaxes(-1, -2) / (items - 1)
        own = np.diagonal(products, axis1=-2, axis2=-1)
        between = np.maximum(own[..., :, None] + own[..., None, :] - 2 * products, 0) / items
        between += 2 / items**2 if self.binary else 0.0
        excess = np.maximum(0, (self.s2 - self.c2) / self.seeds)
        total = between + excess[..., :, None] + excess[..., None, :]
        trained = np.where(self.seeds > 1, (self.s2 / self.seeds) ** 2 / np.maximum(self.seeds - 1, 1), 0.0)
        spread = between**2 / (items - 1) + trained[..., :, None] + trained[..., None, :]
        fewest = np.minimum(np.where(self.seeds > 1, self.seeds, items), items) - 1
        df = np.divide(total**2, spread, out=np.full(total.shape, np.inf), where=(spread > 0) & (total > 0))
        df = np.maximum(df, np.minimum(fewest[..., :, None], fewest[..., None, :]))
        return Gaps(self.totals[..., :, None] - self.totals[..., None, :], np.sqrt(total), df)

    def choose(self, other: "Moments", which: np.ndarray) -> "Moments":
        """Take a candidate from the other studies where `which` [R, K] says so."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("totals", "s2", "c2", "seeds"))
        totals, s2, c2, seeds = (np.where(which, theirs, own) for own, theirs in pairs)
        return Moments(totals, np.where(which[..., None], other.means, self.means), s2, c2, seeds, self.binary)


def reduce_scores(scores: np.ndarray, totals: np.ndarray | None = None, *, binary: bool = True) -> Moments:
    """Reduce item scores [R, K, S, n], and the metric of each seed [R, K, S] where it is not their mean."""
    *lead, seeds, items = scores.shape
    means = scores.mean(-2, dtype=np.float64)
    of_seeds = scores.mean(-1, dtype=np.float64)
    centre = of_seeds.mean(-1)
    squares = centre * items * seeds if binary else np.einsum("...si,...si->...", scores, scores, dtype=np.float64)
    rest = squares - seeds * (means**2).sum(-1) - items * (of_seeds**2).sum(-1) + items * seeds * centre**2
    totals = of_seeds if totals is None else totals
    varies = seeds > 1
    return Moments(
        totals=totals.mean(-1),
        means=means,
        s2=totals.var(-1, ddof=1) if varies else np.zeros(lead),
        c2=np.maximum(rest, 0) / ((items - 1) * (seeds - 1)) / items if varies else np.zeros(lead),
        seeds=np.full(lead, seeds),
        binary=binary,
    )


@dataclass(frozen=True)
class Candidates:
    """What K candidates would score on an endless test set over endless trainings, and how they vary."""

    shares: tuple[float, ...]
    """True share of right answers of each."""
    spreads: tuple[float, ...]
    """Standard deviation of it over trainings."""
    shared: float = 0.7
    """Share of the items on which the chance of a right answer is the same for all candidates; 1: against itself."""
    weight: float = 0.8
    """How little items differ in difficulty: the weight of the beta distribution of their chances."""


def draw_chances(generator: np.random.Generator, known: Candidates, studies: int, items: int) -> np.ndarray:
    """Chance of each item to be answered right by each candidate, [R, K, n], with the true share as its mean."""
    highest = max(known.shares)
    shape = (studies, len(known.shares), items)
    parameters = highest * known.weight, (1 - highest) * known.weight
    common = generator.beta(*parameters, size=(studies, 1, items))
    if known.shared >= 1:
        chances = np.broadcast_to(common, shape)
    else:
        own = generator.random(shape, np.float32) >= known.shared
        chances = np.where(own, generator.beta(*parameters, size=shape), common)
    return (chances * (np.array(known.shares) / highest)[:, None]).astype(np.float32)


def draw_answers(
    generator: np.random.Generator, chances: np.ndarray, pushes: np.ndarray, seeds: slice = slice(None)
) -> np.ndarray:
    """Draw right (1) and wrong (0), [R, K, S, n]; a push of -1..1 moves a seed's chances without leaving 0..1."""
    moved = (chances * (1 - chances))[..., None, :] * pushes[..., seeds, None] + chances[..., None, :]
    return (generator.random(moved.shape, np.float32) < moved).astype(np.float32)


def draw_pushes(generator: np.random.Generator, known: Candidates, chances: np.ndarray, seeds: int) -> np.ndarray:
    """Draw how far each seed is pushed, [R, K, S], so that the true score has the stated spread over seeds.

    Its mean is 0, so the true share stays what it is.
    """
    studies, count, _ = chances.shape
    mobile = np.array([_mobility(known, share) for share in known.shares])
    size = np.array(known.spreads) / mobile
    if size.max(initial=0) > 0.5:
        raise ValueError(f"a spread of {max(known.spreads)} is more than these items allow")
    drawn = generator.standard_normal((studies, count, seeds)) * size[:, None]
    return np.clip(drawn, -1, 1).astype(np.float32)


def _mobility(known: Candidates, share: float) -> float:
    """Mean of p(1-p) over items: how far a push of 1 moves the score."""
    highest, scale = max(known.shares), share / max(known.shares)
    square = highest * (highest * known.weight + 1) / (known.weight + 1)
    return scale * highest - scale**2 * square


def in_chunks(studies: int, scores: int) -> Iterator[int]:
    """Cut a number of studies, each with so many item scores, into chunks that fit."""
    step = max(1, CHUNK // scores)
    while studies > 0:
        yield min(step, studies)
        studies -= step


@dataclass(frozen=True)
class Design:
    """Sizes of a study: items, trainings of every candidate and of those that are not ruled out on validation."""

    items: int
    seeds: int = 3
    contender_seeds: int = 8
    validation: int = 300


def draw_studies(generator: np.random.Generator, known: Candidates, design: Design, studies: int) -> Moments:
    """Draw whole studies: contenders, found on validation rows with the first seeds, get more seeds for the test."""
    chances = draw_chances(generator, known, studies, design.items)
    pushes = draw_pushes(generator, known, chances, design.contender_seeds)
    scores = draw_answers(generator, chances, pushes)
    few = reduce_scores(scores[..., : design.seeds, :])
    if design.contender_seeds == design.seeds:
        return few
    looked = draw_chances(generator, known, studies, design.validation)
    first = reduce_scores(draw_answers(generator, looked, pushes, slice(design.seeds)))
    return few.choose(reduce_scores(scores), bound_shortfalls(first.gaps()).alive)


def draw_pairs(
    generator: np.random.Generator, known: Candidates, items: int, seeds: tuple[int, int], studies: int
) -> Moments:
    """Draw two candidates, each with its own number of trainings."""
    chances = draw_chances(generator, known, studies, items)
    pushes = draw_pushes(generator, known, chances, max(seeds))
    scores = draw_answers(generator, chances, pushes)
    first = reduce_scores(scores[:, :, : seeds[0]])
    if seeds[0] == seeds[1]:
        return first
    return first.choose(reduce_scores(scores[:, :, : seeds[1]]), np.tile([False, True], (studies, 1)))


def draw_losses(
    generator: np.random.Generator, items: int, seeds: int, spreads: tuple[float, float], studies: int
) -> Moments:
    """Draw minus the losses of two candidates with equal means: skew over items, shared in part, moved by seeds."""
    shape = (studies, 2, items)
    drawn = 0.8 * generator.standard_normal((studies, 1, items)) + 0.6 * generator.standard_normal(shape)
    own = 0.5 * np.exp(drawn - 0.5)
    noise = np.exp(0.3 * generator.standard_normal((studies, 2, seeds, items)) - 0.045)
    pushes = np.array(spreads)[:, None, None] * generator.standard_normal((studies, 2, seeds, 1))
    return reduce_scores(-(own[:, :, None, :] * (noise + pushes / 0.5)), binary=False)


def draw_f1(
    generator: np.random.Generator, items: int, seeds: int, spread: float, studies: int, *, weighted: bool = False
) -> Moments:
    """Draw two candidates of equal macro F1 on three classes of unequal size."""
    known = Candidates((0.8, 0.8), (spread, spread))
    chances = draw_chances(generator, known, studies, items)
    right = draw_answers(generator, chances, draw_pushes(generator, known, chances, seeds)) > 0
    gold = generator.choice(3, p=(0.6, 0.3, 0.1), size=(studies, items))
    other = (gold[:, None, None] + generator.integers(1, 3, size=right.shape)) % 3
    parsed = np.where(right, gold[:, None, None], other)
    totals, scores = np.empty(right.shape[:3]), np.empty(right.shape)
    for place in np.ndindex(*totals.shape):
        totals[place], scores[place] = f1_pseudo_values(gold[place[0]], parsed[place], 3, weighted=weighted)
    return reduce_scores(scores, totals, binary=False)


def misses(gaps: Gaps, truth: float = 0.0, error: float = 0.05) -> np.ndarray:
    """Tell of the difference of the first two candidates whether its interval leaves out the truth, [R]."""
    value, spread, df = gaps.value[:, 0, 1], gaps.error[:, 0, 1], gaps.df[:, 0, 1]
    return np.abs(value - truth) > quantile(1 - error / 2, df) * spread


def detectable_effects(gaps: Gaps, power: float = 0.8, error: float = 0.05) -> np.ndarray:
    """Least difference of the first two candidates that each study finds with that chance, [R]."""
    spread, df = gaps.error[:, 0, 1], gaps.df[:, 0, 1]
    return (quantile(1 - error / 2, df) + quantile(power, df)) * spread
