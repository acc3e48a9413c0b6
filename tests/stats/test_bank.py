"""Pseudo-studies drawn from real predictions keep the limits; the truth is the bank's means.

Of 2,000 pseudo-studies a case at most 123 may be wrong, 160 where seed spreads differ more than fivefold at 3 seeds.
The bank is made by `benchmarks/make_bank.py` from `studies/searches/bank.yaml`.
"""

from __future__ import annotations

import json
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from bank import PATH, Bank, draw_bank, make_up, read_bank, write_bank
from calibration import ANY, bank_margins, judge, limit
from make_bank import MOST_BYTES, collect
from simulated import misses

from whichtune.records.predictions import write_predictions

STUDIES = 2000


@pytest.fixture(scope="module", params=["real"] if PATH.is_file() else ["real", "made up"])
def bank(request) -> Bank:
    if request.param == "made up":
        return make_up()
    if not PATH.is_file():
        pytest.skip("the bank of real predictions is not there: benchmarks/make_bank.py makes it")
    return read_bank()


def test_the_bank_is_what_it_should_be() -> None:
    if not PATH.is_file():
        pytest.skip("the bank of real predictions is not there: benchmarks/make_bank.py makes it")
    real = read_bank()
    assert PATH.stat().st_size < MOST_BYTES
    methods, trainings, items = real.right.shape
    assert (methods >= 5, trainings >= 12, items >= 3000) == (True, True, True)
    assert real.about["fingerprints"]
    assert real.about["versions"]["whichtune"]


def test_pairs_cover_the_banks_differences(bank) -> None:
    wrong = {}
    for pair in combinations_with_replacement(range(len(bank.names)), 2):
        own = bank.order(pair)
        spreads = sorted(own.spreads)
        gaps = draw_bank(np.random.default_rng([1, *pair]), own, 300, (3, 3), STUDIES).gaps()
        missed = int(misses(gaps, float(own.shares[0] - own.shares[1])).sum())
        if missed > limit(STUDIES, wide=spreads[1] > 5 * spreads[0]):
            wrong[own.names] = missed
    assert not wrong


def test_verdicts_of_the_bank_are_seldom_wrong(bank) -> None:
    """Cheapest first is worst first, and each margin is one that a method just misses."""
    for margin in bank_margins(bank)[-2:]:
        moments = draw_bank(np.random.default_rng(2), bank, 500, (3, 3), STUDIES)
        wrong, _ = judge(moments, bank.shares, margin)
        counts = {what: int(found.sum()) for what, found in wrong.items() if what != ANY}
        assert {what: count for what, count in counts.items() if count > limit(STUDIES)} == {}


def test_items_alone_miss_far_too_often(bank) -> None:
    """The bound can fail: trainings left out, a method that varies seems to differ from itself."""
    place = int(bank.spreads.argmax())
    gaps = draw_bank(np.random.default_rng(3), bank.order((place, place)), 2000, (1, 1), STUDIES).gaps()
    assert misses(gaps).sum() > limit(STUDIES)


def test_packing_keeps_every_answer(tmp_path) -> None:
    made = make_up(3, 4, 101)
    write_bank(tmp_path / "bank.npz", made)
    again = read_bank(tmp_path / "bank.npz")
    np.testing.assert_array_equal(again.right, made.right)
    assert again.names == made.names
    spoiled = Bank(made.names, 1 - made.right, again.about)
    packed = np.packbits(spoiled.right.astype(bool).reshape(-1))
    told = np.frombuffer(json.dumps(again.about).encode(), np.uint8)
    np.savez_compressed(
        tmp_path / "bad.npz", names=np.array(made.names), shape=np.array(made.right.shape), right=packed, about=told
    )
    with pytest.raises(ValueError, match="not those that were packed"):
        read_bank(tmp_path / "bad.npz")


def test_pseudo_studies_have_the_banks_means() -> None:
    made = make_up(3, 12, 500)
    moments = draw_bank(np.random.default_rng(4), made, 200, (3, 8), 1000)
    np.testing.assert_allclose(moments.totals.mean(0), made.shares, atol=0.01)
    assert set(np.unique(moments.seeds)) == {3, 8}


def test_normal_trainings_are_missed_as_often_as_promised_and_with_replacement_too_often() -> None:
    """Why trainings are drawn without replacement: three of twelve normal ones, a t interval at 95 %."""
    generator = np.random.default_rng(6)
    quantile = 4.3026527  # t with 2 degrees of freedom
    missed = {"with": [], "without": []}
    for _ in range(400):
        worth = generator.normal(size=12)
        twice = generator.integers(12, size=(500, 3))
        once = generator.random((500, 12)).argsort(-1)[:, :3]
        for name, places, stretch in (("with", twice, 1.0), ("without", once, 1 / np.sqrt(1 - 3 / 12))):
            drawn = worth[places]
            away = np.abs(drawn.mean(1) - worth.mean()) * stretch
            missed[name].append(np.mean(away > quantile * drawn.std(1, ddof=1) / np.sqrt(3)))
    assert 0.045 < np.mean(missed["without"]) < 0.055
    assert np.mean(missed["with"]) > 0.07


class Trial:
    """As much of a trial's record as a bank takes."""

    status, family, backbone, study, started_at = "finished", "tuner", "minilm", "bank", "2026-11-21T00:00:00Z"
    settings, training, fingerprints, versions, device = {}, {}, {"data": "d"}, {"whichtune": "0"}, {"kind": "cpu"}

    def __init__(self, method: str, seed: int) -> None:
        self.method, self.seed, self.id = method, seed, f"{method}-{seed}"


class Folder:
    """A study on disk."""

    def __init__(self, path: Path, trials: list[Trial]) -> None:
        self.path, self.trials = path, trials

    def read_trials(self) -> list[Trial]:
        return self.trials

    def trial(self, trial_id: str):
        return type("Found", (), {"predictions": self.path / f"{trial_id}.parquet"})


def test_a_bank_is_collected_from_records(tmp_path, make) -> None:
    generator = np.random.default_rng(5)
    trials = [Trial(method, seed) for method in ("good", "poor") for seed in (2, 1)]
    expected = {}
    for trial in trials:
        gold = generator.integers(0, 2, 40)
        parsed = np.where(generator.random(40) < (0.9 if trial.method == "good" else 0.5), gold, 1 - gold)
        table, order = make(gold, parsed, ("a", "b")), generator.permutation(40)
        expected[trial.method, trial.seed] = gold == parsed
        for name in ("ids", "gold", "parsed"):
            setattr(table, name, [getattr(table, name)[place] for place in order])
        table.confidence, table.loss = table.confidence[order], table.loss[order]
        write_predictions(tmp_path / f"{trial.id}.parquet", [table])
    bank = collect(Folder(tmp_path, trials))
    assert bank.names == ("poor", "good")
    assert bank.about["seeds"] == [1, 2]
    for method, name in enumerate(bank.names):
        assert bank.right[method].sum() == expected[name, 1].sum() + expected[name, 2].sum()
        both = expected[name, 1].astype(int) + expected[name, 2]
        assert sorted(bank.right[method].sum(0)) == sorted(both), "items were put side by side by their ids"
    with pytest.raises(SystemExit, match="same seeds"):
        collect(Folder(tmp_path, trials[:3]))
    trials[0].status = "failed"
    with pytest.raises(SystemExit, match="1 of them not finished"):
        collect(Folder(tmp_path, trials))
