"""What two tempting rules of a verdict would do, by simulation: the tables of `docs/statistics.md`.

    python benchmarks/rules.py [--studies 2000] [--quick]

outside   all candidates but the dearest lie just outside of a margin of 2 points; how often one of them is recommended
          where the error of the bounds is shared by the K-1 rivals, as it is, and where it is shared by those that
          could still be the best (A-1); neither rule bounds those that are ruled out
near      a cheap candidate truly 1 point below the best; how often it is recommended where all have a bound, as it is,
          and where those that are shown not to be the best have none

`--quick` draws 60 studies a row. There is no limit to keep here: `calibration.py` has those.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from simulated import Candidates, Design, draw_studies, in_chunks

from whichtune.stats.best import ERROR_BOUND, bound_shortfalls
from whichtune.stats.intervals import quantile

OUT = Path("benchmarks/out/rules.json")
MARGIN = 0.02
QUICK_STUDIES = 60
OUTSIDE = ((7, 2000), (7, 4000), (7, 5000), (10, 5000), (10, 7000))
NEAR = (2000, 5000, 10_000, 20_000)


def share_by_alive(gaps, limits):
    """Return the bounds with the error shared by the candidates that are alive."""
    others = np.maximum(limits.alive.sum(-1) - 1, 1)[:, None, None]
    above = quantile(1 - ERROR_BOUND / others, gaps.df) * gaps.error - gaps.value
    rivals = limits.alive[:, None, :] & ~np.eye(limits.alive.shape[-1], dtype=bool)
    return leave_out(np.maximum(np.where(rivals, above, 0).max(-1), 0), limits)


def leave_out(bounds, limits):
    """Give those that are ruled out no bound."""
    return np.where(limits.alive, bounds, np.inf)


def recommend(bounds, place):
    """Return of each study whether what it recommends, the cheapest within the margin, stands at a place or before."""
    within = bounds <= MARGIN
    return within.any(-1) & (within.argmax(-1) <= place)


def count(known, items, studies, rules, place):
    """Return the share of studies in which each rule recommends a candidate at a place or before it."""
    generator = np.random.default_rng([5, items, len(known.shares)])
    found = []
    for some in in_chunks(studies, len(known.shares) * items * 8):
        gaps = draw_studies(generator, known, Design(items, 8, 8), some).gaps()
        limits = bound_shortfalls(gaps)
        found.append([recommend(rule(gaps, limits), place) for rule in rules])
    return np.concatenate(found, axis=1).mean(axis=1).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STUDIES} studies a row")
    asked = parser.parse_args()
    studies = QUICK_STUDIES if asked.quick else asked.studies
    told = {"studies": studies, "outside": [], "near": []}
    print(f"{studies} studies a row, margin {100 * MARGIN:g} points\n")
    print(f"{'just outside: candidates, items':34} {'K-1':>7} {'A-1':>7}")
    for candidates, items in OUTSIDE:
        known = Candidates((0.85 - MARGIN - 1e-4,) * (candidates - 1) + (0.85,), (0.004,) * candidates)
        rules = (lambda _, limits: leave_out(limits.bound, limits), share_by_alive)
        shares = count(known, items, studies, rules, candidates - 2)
        told["outside"].append([candidates, items, *shares])
        print(f"{f'{candidates}, {items:,}':34} {shares[0]:7.1%} {shares[1]:7.1%}", flush=True)
    print(f"\n{'cheap one 1 point below: items':34} {'all':>7} {'alive':>7}")
    for items in NEAR:
        known = Candidates((0.84, 0.85), (0.004, 0.004))
        rules = (lambda _, limits: limits.bound, lambda _, limits: leave_out(limits.bound, limits))
        shares = count(known, items, studies, rules, 0)
        told["near"].append([items, *shares])
        print(f"{items:<34,} {shares[0]:7.1%} {shares[1]:7.1%}", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
