"""How often intervals, tests and whole verdicts are wrong, by simulation: the grid, and the limits it has to keep.

    python benchmarks/calibration.py [--studies 2000] [--quick] [--only WORD ...]

Of 2,000 studies a cell at most 123 may be wrong: 5 % are meant, and a true rate of 5 % passes 123 once in a hundred
cells. At most 160 may be where the candidates' seed spreads differ more than fivefold at three seeds, a known limit. Of
more than 20 cells one in fifty may exceed its limit, if a second draw of as many studies does not. Cells that ask for
power instead state the least and the greatest share. Exits with 1 when a cell fails.
`--quick` takes 400 studies a cell, with limits as strict for that number. `docs/statistics.md` says what is simulated.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
from bank import PATH, draw_bank, read_bank
from scipy.stats import binom
from simulated import (
    Candidates,
    Design,
    detectable_effects,
    draw_f1,
    draw_losses,
    draw_pairs,
    draw_studies,
    in_chunks,
    misses,
)

from whichtune.stats.best import ERROR_ALIVE, bound_shortfalls
from whichtune.stats.intervals import Estimate, quantile

OUT = Path("benchmarks/out/calibration.json")
STUDIES, QUICK_STUDIES = 2000, 400
WIDE_RATE = 0.0665
"""Rate that a limit of 160 in 2,000 stands for, where 123 stands for 5 %."""
MANY_CELLS, ONE_IN = 20, 50
MARGIN = 0.02
ANY = "any limit of a shortfall wrong"

Found = dict[str, np.ndarray]
"""By what is counted: of each study, whether it is so."""


@dataclass(frozen=True)
class Cell:
    """One case of the grid."""

    name: str
    draw: Callable[[np.random.Generator, int], Found]
    """Draws so many studies."""
    scores: int
    """Item scores of one study: as many studies are drawn at a time as fit."""
    wide: bool = False
    """At the known limit: seed spreads that differ more than fivefold at three seeds."""
    asked: tuple[float, float] | None = None
    """Least and greatest share, where power is asked for rather than few errors."""

    def run(self, studies: int, seed: int) -> dict[str, int]:
        """Count what is so in that many studies."""
        generator = np.random.default_rng([seed, *self.name.encode()])
        found = [self.draw(generator, count) for count in in_chunks(studies, self.scores)]
        return {what: int(sum(one[what].sum() for one in found)) for what in found[0]}

    def allowed(self, studies: int) -> tuple[float, float]:
        """Return the least and the greatest count."""
        if self.asked is not None:
            return self.asked[0] * studies, self.asked[1] * studies
        return 0, limit(studies, wide=self.wide)


def limit(studies: int, *, wide: bool = False) -> int:
    """Return the greatest count of errors: 123 or 160 of 2,000, as strict for another number."""
    if studies == STUDIES:
        return 160 if wide else 123
    return int(binom.ppf(0.99, studies, WIDE_RATE if wide else 0.05))


# --- Intervals of pairs


def pair(name, known, items, seeds, *, wide=False):
    seeds = seeds if isinstance(seeds, tuple) else (seeds, seeds)
    truth = known.shares[0] - known.shares[1]

    def draw(generator, studies):
        return {"missed": misses(draw_pairs(generator, known, items, seeds, studies).gaps(), truth)}

    return Cell(f"pair {name}, {items} items, seeds {seeds}", draw, 2 * items * max(seeds), wide)


def pairs():
    """Both candidates alike, in everything (1.0) or in their means only."""
    grid = product((0.5, 0.8, 0.97), (200, 500, 2000), (3, 5, 8), (0.0, 0.005, 0.02), (1.0, 0.7, 0.0))
    for share, items, seeds, spread, shared in grid:
        if (share > 0.95 and spread > 0.01) or (shared == 0 and items != 500):
            continue  # Chances near 1 leave no room for such a spread; unlike items are drawn at one size.
        known = Candidates((share, share), (spread, spread), shared)
        yield pair(f"{share} spread {spread} shared {shared}", known, items, seeds)


def unequal_pairs():
    """Spreads that differ, trainings that differ in number, a true difference."""
    for items, seeds, spreads in product((200, 2000), (3, 5, 8), ((0.004, 0.012), (0.004, 0.02), (0.002, 0.02))):
        wide = seeds == 3 and spreads[1] > 5 * spreads[0]
        yield pair(f"spreads {spreads}", Candidates((0.8, 0.8), spreads), items, seeds, wide=wide)
    for items, seeds in product((200, 1000), ((1, 3), (3, 8), (1, 8))):
        spreads = (0.0 if seeds[0] == 1 else 0.008, 0.008)
        yield pair(f"trainings {seeds}", Candidates((0.8, 0.8), spreads), items, seeds)
    for items, seeds in product((200, 1000), (3, 8)):
        yield pair("0.85 and 0.80", Candidates((0.85, 0.80), (0.008, 0.008)), items, seeds)
        yield pair("0.97 and 0.95", Candidates((0.97, 0.95), (0.003, 0.003)), items, seeds)
        yield pair("items of like difficulty", Candidates((0.8, 0.8), (0.008, 0.008), 0.7, weight=8), items, seeds)


def other_metrics():
    """Means of skew scores, and F1 by its pseudo-values."""
    for items, seeds, spreads in product((200, 1000), (3, 5, 8), ((0.0, 0.0), (0.01, 0.01), (0.01, 0.03))):

        def draw(generator, studies, items=items, seeds=seeds, spreads=spreads):
            return {"missed": misses(draw_losses(generator, items, seeds, spreads, studies).gaps())}

        yield Cell(f"loss, {items} items, {seeds} seeds, spreads {spreads}", draw, 2 * items * seeds)
    for items, seeds, spread, weighted in product((200, 1000), (3, 8), (0.0, 0.01), (False, True)):

        def draw(generator, studies, items=items, seeds=seeds, spread=spread, weighted=weighted):
            return {"missed": misses(draw_f1(generator, items, seeds, spread, studies, weighted=weighted).gaps())}

        metric = "weighted F1" if weighted else "macro F1"
        yield Cell(f"{metric}, {items} items, {seeds} seeds, spread {spread}", draw, 4 * items * seeds)


def singles():
    """Wilson's interval of one proportion, with the variance of seeds in its number of items."""
    for share, items, seeds, spread in product((0.5, 0.8, 0.97), (200, 2000), (1, 3, 8), (0.0, 0.005)):
        if seeds == 1 and spread:
            continue
        known = Candidates((share,), (spread,))

        def draw(generator, studies, known=known, items=items, seeds=seeds):
            moments = draw_pairs(generator, known, items, (seeds, seeds), studies)
            return {"missed": np.array([not low <= known.shares[0] <= high for low, high in intervals_of(moments)])}

        yield Cell(f"single {share} spread {spread}, {items} items, {seeds} seeds", draw, items * seeds)


def intervals_of(moments):
    """Intervals of the only candidate of each study, by the package."""
    items = moments.means.shape[-1]
    between = moments.means[:, 0].var(-1, ddof=1) / items
    excess = np.maximum(0, moments.s2 - moments.c2)[:, 0] / moments.seeds[:, 0]
    trained = (moments.s2 / moments.seeds)[:, 0] ** 2 / np.maximum(moments.seeds[:, 0] - 1, 1)
    total, spread = between + excess, between**2 / (items - 1) + trained
    df = np.divide(total**2, spread, out=np.full(total.shape, np.inf), where=spread > 0)
    for value, part, more, degrees in zip(moments.totals[:, 0], between, excess, df, strict=True):
        told = Estimate(float(value), float(part), float(more), float(degrees), items, proportion=True, bounds=(0, 1))
        yield told.interval()


def near_pairs():
    """Never said to be within the margin of each other by two that are just as far apart."""
    for items, seeds in product((1000, 4000), (3, 8)):
        known = Candidates((0.85, 0.85 - MARGIN), (0.003, 0.003))

        def draw(generator, studies, known=known, items=items, seeds=seeds):
            gaps = draw_pairs(generator, known, items, (seeds, seeds), studies).gaps()
            reach = quantile(0.95, gaps.df[:, 0, 1]) * gaps.error[:, 0, 1]
            return {"called near": np.abs(gaps.value[:, 0, 1]) + reach <= MARGIN}

        yield Cell(f"at the margin, {items} items, {seeds} seeds", draw, 2 * items * seeds)


# --- Whole verdicts


def judge(moments, shares, margin=MARGIN):
    """Return what is wrong with each study's verdict; candidates are in the order of their costs, cheapest first."""
    truth = max(shares) - np.array(shares)
    gaps = moments.gaps()
    limits = bound_shortfalls(gaps)
    within = limits.bound <= margin
    chosen = within.argmax(-1)
    shown = within.any(-1)
    above = (limits.bound < truth - 1e-12).any(-1)
    below = (limits.least > truth + 1e-12).any(-1)
    ruled_out = ~limits.alive[:, truth.argmin()]
    further = -gaps.value - quantile(1 - ERROR_ALIVE / (len(truth) - 1), gaps.df) * gaps.error > margin
    return {
        "recommended although worse by more than the margin": shown & (truth[chosen] > margin + 1e-12),
        "best ruled out": ruled_out,
        "a shortfall above its bound": above,
        "said to be further below than the margin although not": (further.any(-1) & (truth <= margin)).any(-1),
        ANY: above | below | ruled_out,
    }, shown


def verdict(name, known, design, margin=MARGIN):
    def draw(generator, studies):
        return judge(draw_studies(generator, known, design, studies), known.shares, margin)[0]

    told = f"verdict {name}, {len(known.shares)} candidates, {design.items} items"
    return Cell(told, draw, len(known.shares) * design.items * design.contender_seeds)


def verdicts():
    """All equal, and all but the dearest just outside the margin or inside; wide margins stand for large test sets."""
    for count, items, spread in product((2, 7, 10), (500, 1000), (0.004, 0.012)):
        equal = Candidates((0.85,) * count, (spread,) * count)
        yield verdict(f"all equal, spread {spread}", equal, Design(items))
        for margin in (0.02, 0.04, 0.06):
            outside = Candidates((0.85 - margin - 1e-4,) * (count - 1) + (0.85,), (spread,) * count)
            yield verdict(f"all outside {margin}, spread {spread}", outside, Design(items), margin)
    for count, margin in product((7, 10), (0.02, 0.05)):
        shares = tuple(0.85 - (margin + 1e-4) * (place % 2) for place in range(count, 0, -1))
        yield verdict(f"half outside {margin}", Candidates(shares, (0.006,) * count), Design(1000), margin)
    for count, margin in product((2, 7, 10), (0.02, 0.05)):
        inside = Candidates((0.85 - margin + 1e-4,) * (count - 1) + (0.85,), (0.006,) * count)
        yield verdict(f"all inside {margin}", inside, Design(1000), margin)
    spreads = (0.015, 0.002, 0.004, 0.01, 0.003, 0.006, 0.002)
    outside = Candidates((0.85 - MARGIN - 1e-4,) * 6 + (0.85,), spreads)
    yield verdict("all outside, spreads that differ", outside, Design(1000))
    yield verdict("all outside, few trainings", outside, Design(1000, contender_seeds=3))


# --- Power


REALISTIC = Candidates(
    (0.74, 0.81, 0.85, 0.868, 0.872, 0.866, 0.875), (0.002, 0.003, 0.004, 0.005, 0.004, 0.006, 0.005), 0.8
)
"""Seven candidates, cheapest first: weak cheap ones, a middle field, some that are hardly apart."""


def shown_share():
    def draw(generator, studies):
        wrong, shown = judge(draw_studies(generator, REALISTIC, Design(1000), studies), REALISTIC.shares)
        return {"shown": shown & ~wrong["recommended although worse by more than the margin"]}

    yield Cell("realistic: 7 candidates, 1000 items", draw, 7 * 1000 * 8, asked=(0.9, 1.0))


def effects():
    """At the least detectable effect that a study of this size states, and at twice that."""
    for items, seeds, spread in product((500, 2000), (3, 8), (0.003, 0.01)):
        stated = state_effect(items, seeds, spread)
        for times, asked in ((1, (0.7, 0.9)), (2, (0.97, 1.0))):
            known = Candidates((0.8, 0.8 - times * stated), (spread, spread))

            def draw(generator, studies, known=known, items=items, seeds=seeds):
                gaps = draw_pairs(generator, known, items, (seeds, seeds), studies).gaps()
                return {"found": misses(gaps) & (gaps.value[:, 0, 1] > 0)}

            name = f"{times} times the effect ({stated:.4f}), {items} items, {seeds} seeds, spread {spread}"
            yield Cell(name, draw, 2 * items * seeds, asked=asked)


def state_effect(items, seeds, spread):
    """Return the effect that studies of that size state, on average."""
    known = Candidates((0.8, 0.8), (spread, spread))
    pilot = draw_pairs(np.random.default_rng(0), known, items, (seeds, seeds), 200)
    return float(np.mean(detectable_effects(pilot.gaps())))


# --- Real predictions


def banked(path=PATH):
    """Pseudo-studies of the bank: each pair, each method against itself, verdicts at margins just missed."""
    if not path.is_file():
        print(f"{path} is not there: no real predictions; benchmarks/make_bank.py makes it")
        return
    bank = read_bank(path)
    places = range(len(bank.names))
    for (first, second), (items, seeds) in product(
        combinations_with_replacement(places, 2), ((200, 3), (1000, 3), (1000, 8))
    ):
        yield bank_pair(bank.order((first, second)), items, seeds)
    for items, seeds in product((500, 1000, 2000), ((3, 3), (3, 8))):
        for margin in bank_margins(bank):
            yield bank_verdict(bank, items, seeds, margin)


def bank_pair(bank, items, seeds):
    truth = float(bank.shares[0] - bank.shares[1])
    spreads = sorted(bank.spreads)

    def draw(generator, studies):
        return {"missed": misses(draw_bank(generator, bank, items, (seeds, seeds), studies).gaps(), truth)}

    wide = seeds == 3 and spreads[1] > 5 * spreads[0]
    return Cell(f"bank {' and '.join(bank.names)}, {items} items, {seeds} seeds", draw, 2 * items * seeds, wide)


def bank_margins(bank):
    """Margins that one of the methods just misses, of at least half a point, and that of two points."""
    missed = (bank.shares.max() - bank.shares) - 1e-4
    return [*(float(one) for one in missed if one >= 0.005), MARGIN]


def bank_verdict(bank, items, seeds, margin):
    def draw(generator, studies):
        wrong, _ = judge(draw_bank(generator, bank, items, seeds, studies), bank.shares, margin)
        return {what: found for what, found in wrong.items() if what != ANY}

    return Cell(
        f"bank verdict, margin {margin:.4f}, {items} items, seeds {seeds}", draw, bank.right.shape[0] * items * 8
    )


GROUPS = {
    "bank": banked,
    "pairs": pairs,
    "unequal": unequal_pairs,
    "metrics": other_metrics,
    "singles": singles,
    "near": near_pairs,
    "verdicts": verdicts,
    "shown": shown_share,
    "effects": effects,
}


@dataclass(frozen=True)
class Row:
    """What came out for one thing that is counted in one cell."""

    cell: str
    what: str
    count: int
    low: float
    high: float
    again: int | None = None
    """Count of the second draw, made where the first exceeds its limit."""

    @property
    def exceeds(self) -> bool:
        return not self.low <= self.count <= self.high

    @property
    def fails(self) -> bool:
        return self.exceeds and (self.again is None or not self.low <= self.again <= self.high)

    def __str__(self) -> str:
        asked = f"at most {self.high:.0f}" if not self.low else f"{self.low:.0f} to {self.high:.0f}"
        second = "" if self.again is None else f"; second draw {self.again}"
        mark = "!!" if self.fails else " !" if self.exceeds else "  "
        return f"{mark} {self.count:5d} ({asked}{second})  {self.what}: {self.cell}"


def run_cell(cell, studies):
    counts, (low, high) = cell.run(studies, 1), cell.allowed(studies)
    second = {} if all(low <= count <= high for count in counts.values()) else cell.run(studies, 2)
    rows = [Row(cell.name, what, count, low, high) for what, count in counts.items()]
    return [
        Row(row.cell, row.what, row.count, low, high, second[row.what]) if row.exceeds and cell.asked is None else row
        for row in rows
    ]


def passes(rows):
    """Tell whether the grid is kept: no cell fails twice, and of many one in fifty may fail once."""
    spared = max(1, len(rows) // ONE_IN) if len(rows) > MANY_CELLS else 0
    return not any(row.fails for row in rows) and sum(row.exceeds for row in rows) <= spared


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STUDIES} studies a cell")
    parser.add_argument("--bank", type=Path, default=PATH, help="the real predictions")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    asked = parser.parse_args()
    studies, rows, start = QUICK_STUDIES if asked.quick else asked.studies, [], time.perf_counter()
    for group in asked.only:
        began, cells = time.perf_counter(), banked(asked.bank) if group == "bank" else GROUPS[group]()
        own = [row for cell in cells for row in run_cell(cell, studies)]
        rows += own
        worst = max((row.count / row.high for row in own), default=0)
        print(f"\n{group}: {len(own)} counts, greatest {worst:.2f} of its limit, {time.perf_counter() - began:.0f} s")
        print(*(row for row in own if row.exceeds or len(own) < MANY_CELLS), sep="\n", flush=True)
    fine = passes(rows)
    exceeding = sum(row.exceeds for row in rows)
    print(f"\n{len(rows)} counts of {studies} studies each in {time.perf_counter() - start:.0f} s: {exceeding} exceed")
    print("the limits are kept" if fine else "THE LIMITS ARE NOT KEPT")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"studies": studies, "kept": fine, "rows": [vars(row) for row in rows]}, indent=1))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
