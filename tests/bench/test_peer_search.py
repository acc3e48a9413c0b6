import math

import numpy as np
import pytest

from whichtune.bench.peer import Done
from whichtune.bench.peer_search import run_peer_search
from whichtune.bench.studies import LADDER, build_study, lay_reviews
from whichtune.spec.search import find_space

BEST = 1e-3
"""The learning rate at which the made-up peer learns most."""


class FakePeer:
    """Trains nothing: the nearer a rate to the best, the better it scores, and every trial takes two seconds."""

    binary = True
    tokens = 10

    def __init__(self, study, data):
        self.study, self.data, self.run = study, data, []

    def read_rows(self):
        pass

    def run_trial(self, job):
        self.run.append(job)
        score = 1 - abs(math.log(job.method.learning_rate / BEST)) / 10
        return Done(job, 2.0, 5, score, np.ones(16) if job.tests else None)


@pytest.fixture
def peer(tiny_data):
    tree = lay_reviews("search", 32, {"lora": LADDER["lora-8"]}, epochs=2)
    tree |= {"search": {"trials": 4, "best": 2, "repeats": 1}, "seeds": [1, 2]}
    tree["methods"]["lora"] = LADDER["lora-8"] | {"learning_rate": 2e-4}
    return FakePeer(build_study(tree, 1, ()), tiny_data)


def test_a_whole_search_has_our_budget_and_takes_the_best_rate(peer):
    side = run_peer_search(peer, 1.0, lambda _: None)
    searched = [job for job in peer.run if not job.tests or job.seed not in (1, 2)]
    finals = [job for job in peer.run if job not in searched]
    assert len(searched) == 4 + 1 + 2 * 1  # the grid, the entry's own, the two best once more
    rates = {job.method.learning_rate for job in searched}
    assert 2e-4 in rates
    nearest = min(rates, key=lambda rate: abs(math.log(rate / BEST)))
    assert [job.method.learning_rate for job in finals] == [nearest] * 2
    assert [job.seed for job in finals] == [1, 2]
    assert (side.run_trials, side.all_trials) == (9, 9)
    assert side.seconds == pytest.approx(18.0, abs=0.5)


def list_ends(peer):
    (low, high), *_ = find_space(peer.study.methods["lora"]).ranges.values()
    return low, high


def test_a_share_of_a_search_is_scaled(peer):
    side = run_peer_search(peer, 0.5, lambda _: None)
    grid = sorted(job.method.learning_rate for job in peer.run if not job.tests)
    assert (len(grid), grid[0], grid[-1]) == (4, *list_ends(peer)), "half of seven trials, both ends of the range"
    assert (side.run_trials, side.all_trials) == (4 + 2, 9)
    assert side.seconds == pytest.approx(18.0, abs=0.5)
