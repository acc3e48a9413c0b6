"""Make the bank of real predictions that the statistics are tested on, from the records of a study.

    python -m whichtune run studies/searches/bank.yaml
    python benchmarks/make_bank.py runs/bank [--out tests/stats/bank.npz]

Every method has to have the same number of finished trainings on the same test rows, told apart by their seeds; what is
kept is who was right on which row, and where it comes from: fingerprints of data and weights, versions, machine.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from bank import PATH, Bank, write_bank

from whichtune.records.folder import find_study
from whichtune.records.predictions import read_predictions

MOST_BYTES = 60_000


def collect(study):
    """Return the bank of a study's trained methods, in the order of their test scores."""
    trials = [one for one in study.read_trials() if one.family == "tuner"]
    unfinished = [one.id for one in trials if one.status != "finished"]
    if unfinished or not trials:
        raise SystemExit(f"{len(trials)} trials of trained methods, {len(unfinished)} of them not finished")
    by_method, ids = {}, None
    for trial in sorted(trials, key=lambda one: one.seed):
        table = read_predictions(study.trial(trial.id).predictions, "test")["test"]
        ids = ids or table.ids
        if sorted(table.ids) != sorted(ids):
            raise SystemExit(f"{trial.id}: other test rows than the first trial's")
        right = dict(zip(table.ids, (g == p for g, p in zip(table.gold, table.parsed, strict=True)), strict=True))
        by_method.setdefault(trial.method, {})[trial.seed] = [right[row] for row in ids]
    seeds = {tuple(trained) for trained in by_method.values()}
    if len(seeds) > 1:
        raise SystemExit("the methods were not trained with the same seeds")
    means = {name: np.mean(list(trained.values())) for name, trained in by_method.items()}
    names = sorted(by_method, key=lambda name: (means[name], name))
    right = np.array([list(by_method[name].values()) for name in names], np.float32)
    return Bank(tuple(names), right, describe(trials, sorted(seeds.pop())))


def describe(trials, seeds):
    first = trials[0]
    prints = {trial.backbone: trial.fingerprints for trial in trials}
    return {
        "study": first.study,
        "seeds": seeds,
        "trained": f"{min(one.started_at for one in trials)[:10]}..{max(one.started_at for one in trials)[:10]}",
        "fingerprints": prints,
        "versions": first.versions,
        "device": {key: first.device.get(key) for key in ("kind", "name", "threads")},
        "settings": {one.method: {"method": one.settings, "training": one.training} for one in trials},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs_folder", type=Path, help="folder of the finished study")
    parser.add_argument("--out", type=Path, default=PATH)
    asked = parser.parse_args()
    bank = collect(find_study(asked.runs_folder))
    write_bank(asked.out, bank)
    size = asked.out.stat().st_size
    methods, trainings, items = bank.right.shape
    print(f"{asked.out}: {methods} methods, {trainings} trainings of each, {items:,} rows, {size:,} bytes")
    for name, share, spread in zip(bank.names, bank.shares, bank.spreads, strict=True):
        print(f"  {name:20s} {100 * share:.2f} % right, {100 * spread:.2f} points between trainings")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES:,} bytes: too large to be kept with the tests")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
