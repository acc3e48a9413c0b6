"""Real predictions that the statistics are tested on: which training of which method was right on which item.

A pseudo-study draws items from the bank with replacement, and trainings without: the bank's means are the truth that
its intervals have to cover. Twelve trainings are few. Drawn with replacement, one of them stands twice among three in
every fourth study, and a rule that misses 5 % misses 7 to 8 % even where trainings are normal, as
`tests/stats/test_bank.py` shows. Drawn without, their mean lies nearer to the bank's than that of as many out of
endlessly many, by the square root of 1 - S/N; it is moved away by as much. `make_bank.py` makes the file from a study.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from simulated import Moments, reduce_scores

from whichtune.stats.best import bound_shortfalls

PATH = Path(__file__).parents[1] / "tests" / "stats" / "bank.npz"


@dataclass(frozen=True)
class Bank:
    """K methods, S trainings of each, n items."""

    names: tuple[str, ...]
    right: np.ndarray
    """[K, S, n], 0 or 1."""
    about: dict[str, Any]
    """Where it comes from: fingerprints, versions, date."""

    @cached_property
    def shares(self) -> np.ndarray:
        """Truth: share of right answers of each method over all trainings and items, [K]."""
        return self.right.mean((1, 2))

    @cached_property
    def spreads(self) -> np.ndarray:
        """Standard deviation of that share over trainings, [K]."""
        return self.right.mean(2).std(1, ddof=1)

    def order(self, places: Sequence[int]) -> "Bank":
        """Return the bank of some of its methods, in that order; a place may stand there twice."""
        return Bank(tuple(self.names[place] for place in places), self.right[list(places)], self.about)


def write_bank(path: Path, bank: Bank) -> None:
    """Pack a bank, eight answers a byte, with a fingerprint of the answers."""
    about = bank.about | {"sha256": fingerprint(bank.right)}
    told = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    packed = np.packbits(bank.right.astype(bool).reshape(-1))
    np.savez_compressed(path, names=np.array(bank.names), shape=np.array(bank.right.shape), right=packed, about=told)


def read_bank(path: Path = PATH) -> Bank:
    """Read a bank, and hold it to its fingerprint."""
    with np.load(path) as held:
        shape = tuple(held["shape"].tolist())
        right = np.unpackbits(held["right"], count=int(np.prod(shape))).reshape(shape).astype(np.float32)
        bank = Bank(tuple(held["names"].tolist()), right, json.loads(held["about"].tobytes()))
    if fingerprint(bank.right) != bank.about["sha256"]:
        raise ValueError(f"{path}: the answers are not those that were packed")
    return bank


def fingerprint(right: np.ndarray) -> str:
    """SHA-256 of the packed answers."""
    return hashlib.sha256(np.packbits(right.astype(bool).reshape(-1)).tobytes()).hexdigest()


def draw_bank(generator: np.random.Generator, bank: Bank, items: int, seeds: tuple[int, int], studies: int) -> Moments:
    """Draw pseudo-studies whose contenders, found on other items with the first trainings, have more trainings."""
    count, trainings, size = bank.right.shape
    trained = generator.random((studies, count, trainings)).argsort(-1)[..., : seeds[1], None]
    methods = np.arange(count)[:, None, None]
    scores = bank.right[methods, trained, generator.integers(size, size=(studies, 1, 1, items))]
    few = widen(bank, reduce_scores(scores[:, :, : seeds[0]]), trained[:, :, : seeds[0], 0])
    if seeds[0] == seeds[1]:
        return few
    looked = bank.right[methods, trained[:, :, : seeds[0]], generator.integers(size, size=(studies, 1, 1, 300))]
    many = widen(bank, reduce_scores(scores), trained[..., 0])
    return few.choose(many, bound_shortfalls(reduce_scores(looked).gaps()).alive)


def widen(bank: Bank, drawn: Moments, trained: np.ndarray) -> Moments:
    """Move the means of the trainings drawn, [R, K, S], as far from the bank's as those of endlessly many would lie."""
    shares = bank.right.mean(2)
    found = shares[np.arange(len(shares))[:, None], trained].mean(-1)
    stretch = 1 / np.sqrt(1 - trained.shape[-1] / shares.shape[1]) - 1
    return replace(drawn, totals=drawn.totals + stretch * (found - bank.shares))


def make_up(methods: int = 5, trainings: int = 12, items: int = 3000) -> Bank:
    """Make a bank up that looks like one: shares 70 to 88 %, items of unlike difficulty, trainings that move it."""
    generator = np.random.default_rng(0)
    skills = np.linspace(1.0, 2.6, methods)[:, None, None] + generator.normal(0, 0.1, (methods, trainings, 1))
    own = generator.normal(0, 0.7, (methods, 1, items)) + generator.normal(0, 0.5, (methods, trainings, items))
    right = skills + own + generator.normal(0, 1.2, items) > 0
    return Bank(tuple(f"made up {place}" for place in range(methods)), right.astype(np.float32), {"made_up": True})
