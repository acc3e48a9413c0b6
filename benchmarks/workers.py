"""One process against several: whole studies on movie reviews with MiniLM, run one way after the other, in turn.

    python benchmarks/workers.py [--rows 400] [--rounds 3] [--epochs 1] [--seeds 2] [--workers 2]

several   `execution.workers: N`, each process with its share of the cores
narrow    one process with the threads that each of them has
one       one process with all cores (the reference)

A study is LoRA, full fine-tuning and the last layer with every seed, from reading the rows to the last record, the
start of the workers included; probes and checks are off. Every study has a folder of its own, and kept prefixes go
into a new and empty cache. Several processes give what the narrow one gives, bit for bit: exits with 1 when a
prediction differs, or when fewer than 99.5 % agree with those of all cores. Which way is faster, it tells.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whichtune.bench.alternate import alternate
from whichtune.fetch.cache import cache_root
from whichtune.measure.cores import count_cores
from whichtune.records.predictions import read_predictions
from whichtune.spec.study import StudySpec
from whichtune.study.run import StudyOutcome, run_study

OUT = Path(__file__).parent / "out" / "workers.json"
AGREE = 0.995
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 8, "learning_rate": 1e-3},
    "full": {"kind": "full", "learning_rate": 5e-5},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-4},
}


class Silent:
    """A watcher that shows nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


@dataclass
class Side:
    """One way of running the study, and what its last run gave."""

    study: StudySpec
    predictions: dict[tuple[str, int], Any] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Run the whole study in a new folder; return its seconds."""
        with tempfile.TemporaryDirectory() as place, new_prefixes(Path(place)):
            start = time.perf_counter()
            outcome = run_study(self.study, Path(place) / "runs", Silent())  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            if outcome.exit_code:
                raise SystemExit(f"a trial failed: {[one.failure for one in outcome.failed]}")
            self.predictions = read_answers(outcome)
            self.spent.append(sum(one.wall_seconds or 0.0 for one in outcome.records))
        return seconds


@contextmanager
def new_prefixes(place: Path) -> Generator[None]:
    """Point the cache to a new folder that shares everything but prefixes, embeddings and token ids."""
    held, before, own = cache_root(), os.environ.get("WHICHTUNE_CACHE"), place / "cache"
    own.mkdir()
    for one in held.iterdir() if held.is_dir() else ():
        if one.name not in {"prefixes", "embeddings", "encoded"} and not one.name.startswith("."):
            (own / one.name).symlink_to(one)
    os.environ["WHICHTUNE_CACHE"] = str(own)
    try:
        yield
    finally:
        os.environ.pop("WHICHTUNE_CACHE")
        if before is not None:
            os.environ["WHICHTUNE_CACHE"] = before


def read_answers(outcome: StudyOutcome) -> dict[tuple[str, int], Any]:
    """Return the test predictions of every trial."""
    found = {}
    for record in outcome.records:
        table = read_predictions(outcome.folder.trial(record.id).predictions)["test"]
        found[record.candidate, record.seed] = (table.parsed, table.probabilities)
    return found


def make_study(asked: argparse.Namespace, execution: dict[str, Any]) -> StudySpec:
    sizes = {"train": asked.rows, "validation": asked.rows // 4, "test": asked.rows}
    return StudySpec.model_validate(
        {
            "name": "workers",
            "data": {"source": {"kind": "movie-reviews"}, "sizes": sizes},
            "backbones": {"minilm": {"kind": "minilm"}},
            "methods": METHODS,
            "training": {"epochs": asked.epochs, "batch_size": 16, "max_length": 128},
            "seeds": list(range(1, asked.seeds + 1)),
            "contender_seeds": 0,
            "execution": {"device": "cpu", "check": False, **execution},
            "measure": {"probe": False},
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=count_cores())
    asked = parser.parse_args()
    cores = count_cores()
    if asked.workers < 2 or asked.workers > cores:
        parser.error(f"--workers: got {asked.workers}; allowed: 2 to {cores}, the cores here")
    ways = {
        "several": {"workers": asked.workers},
        "narrow": {"threads": cores // asked.workers},
        "one": {"threads": cores},
    }
    sides = {name: Side(make_study(asked, way)) for name, way in ways.items()}
    compared = alternate({name: side.run for name, side in sides.items()}, asked.rounds)
    print(compared)
    several, narrow, one = (sides[name].predictions for name in ways)
    same = all(np.array_equal(several[key][part], narrow[key][part]) for key in several for part in (0, 1))
    agree = float(np.mean(np.concatenate([np.array(several[key][0]) == np.array(one[key][0]) for key in several])))
    faster = 1 / compared.ratio("several")
    print(f"{asked.workers} workers: {faster:.2f} x one process; the narrow one's bits: {same}; {agree:.1%} agree")
    OUT.parent.mkdir(exist_ok=True)
    figures = {"cores": cores, "faster": faster, "same": same, "agree": agree, "seconds": dict(compared.seconds)}
    OUT.write_text(json.dumps({**vars(asked), **figures}, indent=1), encoding="utf-8")
    return 0 if same and agree >= AGREE else 1


if __name__ == "__main__":
    sys.exit(main())
