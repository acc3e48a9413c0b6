"""How long the HTML report of a large study takes: made-up records, fresh interpreters.

    python benchmarks/report_time.py [--candidates 50] [--seeds 10] [--rows 1000] [--rounds 3]

Exits with 1 when the median is above the limit, or when the report loads torch. The charts' library is in the cache
after the first round, which is not counted; its time stands beside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whichtune.records.folder import StudyFolder
from whichtune.records.predictions import Predictions, write_predictions
from whichtune.records.trial import AloneCost, LatencyFigures, Parameters, Phase, Probe, TrialRecord
from whichtune.spec.read import resolve_study
from whichtune.spec.write import dump_study
from whichtune.stats.scores import score_predictions

LIMIT_SECONDS = 10.0
LABELS = ("negative", "positive")
STEPS = 300
CODE = """
import sys, time
start = time.perf_counter()
from whichtune.cli import main
sys.argv = ["whichtune", "report", sys.argv[1], "--html", sys.argv[2]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("seconds", time.perf_counter() - start)
print("loaded", *(name for name in ("torch", "transformers", "datasets") if name in sys.modules))
"""


def make_study(path: Path, candidates: int, seeds: int, rows: int) -> StudyFolder:
    """Write the records of a study that nobody ran."""
    folder = StudyFolder(path)
    path.mkdir(parents=True)
    methods = {"majority": {"kind": "majority"}} | {
        f"lora-{place}": {"kind": "lora"} for place in range(candidates - 1)
    }
    raw = {
        "name": "large",
        "task": {"kind": "text-classification"},
        "data": {"source": {"kind": "movie-reviews"}},
        "backbones": {"minilm": {"kind": "minilm"}},
        "methods": methods,
    }
    folder.spec.write_text(dump_study(resolve_study(raw), {}), encoding="utf-8")
    words = np.random.default_rng(0).choice(["good", "bad", "film", "plot", "actor", "very", "not"], (rows, 60))
    texts = [" ".join(row) for row in words]
    gold = [LABELS[place % 2] for place in range(rows)]
    ids = [f"r{place}" for place in range(rows)]
    table = {"id": ids, "split": ["test"] * rows, "text": texts, "gold": gold, "origin": ids}
    pq.write_table(pa.table(table), folder.examples)
    for place, method in enumerate(methods):
        for seed in range(1, seeds + 1) if method != "majority" else (1,):
            write_trial(folder, method, place, seed, ids, gold)
    return folder


def write_trial(folder: StudyFolder, method: str, place: int, seed: int, ids: list[str], gold: list[str]) -> None:
    """Write one finished trial with its predictions, its curve and its probe."""
    rows, own = len(ids), np.random.default_rng([place, seed])
    items = np.random.default_rng(1).random(rows)
    baseline = method == "majority"
    right = own.random(rows) * 0.3 + items * 0.7 < (0.5 if baseline else 0.8 + place / 1000)
    parsed = [label if is_right else LABELS[label == LABELS[0]] for label, is_right in zip(gold, right, strict=True)]
    shares = own.dirichlet([2.0, 1.0], rows).astype(np.float32)
    predictions = Predictions(
        split="test",
        ids=ids,
        gold=gold,
        parsed=parsed,
        confidence=shares.max(axis=1),
        loss=np.where(right, 0.2, 1.5).astype(np.float32),
        probabilities=shares,
        gold_rank=np.where(right, 0, 1).astype(np.int16),
        batch_seconds=np.full(rows, 0.004 + place / 10_000, np.float32),
        labels=LABELS,
    )
    candidate = method if baseline else f"{method}@minilm"
    probe = None if baseline else f"probe-{method}"
    record = TrialRecord(
        id=f"{place:04d}{seed:04d}{'a' * 8}",
        study="large",
        candidate=candidate,
        method=method,
        kind="majority" if baseline else "lora",
        backbone=None if baseline else "minilm",
        baseline=baseline,
        family="baseline" if baseline else "tuner",
        seed=seed,
        deterministic=baseline,
        status="finished",
        settings={"kind": "lora", "rank": 8},
        training=None if baseline else {"epochs": 3, "max_length": 128, "batch_size": 16},
        identity={"seed": seed},
        started_at="2026-01-01T00:00:00+00:00",
        device={"name": "cpu", "threads": 2},
        parameters=Parameters(trunk=22_713_216, head=770, added=73_728, trainable=74_498),
        phases={
            "step": Phase(seconds=10.0 + place, peak_bytes=10**9),
            "predict": Phase(seconds=4.0),
            "other": Phase(seconds=2.5),
        },
        wall_seconds=12.5 + place,
        adapter_bytes=300_000,
        probe=probe,
        scores={"test": score_predictions(predictions, LABELS, "accuracy")},
    )
    trial = folder.trial(record.id)
    trial.write(record)
    write_predictions(trial.predictions, [predictions])
    losses = 0.3 + np.exp(-np.arange(STEPS) / 60) * own.uniform(0.2, 0.6, STEPS)
    lines = [
        {"step": step + 1, "loss": float(loss), "learning_rate": 1e-3, "gradient_norm": 1.0}
        for step, loss in enumerate(losses)
    ]
    trial.curve.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if probe is not None and seed == 1:
        latencies = [
            LatencyFigures(batch=count, merged=False, median_seconds=0.004, p95_seconds=0.005) for count in (1, 64)
        ]
        alone = AloneCost(steps=5, step_seconds=0.1 + place / 1000, peak_bytes=10**9 + place, latencies=latencies)
        made = Probe(id=probe, candidate=candidate, method=method, device="cpu", threads=2, alone=alone)
        folder.probe(probe).parent.mkdir(exist_ok=True)
        folder.probe(probe).write_text(made.model_dump_json(), encoding="utf-8")


def time_report(study: Path, page: Path) -> tuple[float, str]:
    """Write the report in a fresh interpreter; return its seconds, the interpreter's own start apart."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(study), str(page)], check=True, stdout=subprocess.PIPE, text=True
    )
    lines = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    return float(lines["seconds"]), lines.get("loaded", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=51, help="the baseline among them")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        folder = make_study(Path(place) / "large", asked.candidates, asked.seeds, asked.rows)
        trials = len(list(folder.path.glob("trials/*")))
        start = time.perf_counter()
        first, loaded = time_report(folder.path, page)
        print(f"{trials} trials, {asked.rows:,} predictions each; first round {first:.1f} s", flush=True)
        times = [time_report(folder.path, page)[0] for _ in range(asked.rounds)]
        size = page.stat().st_size
    middle = median(times)
    print(f"median {middle:.1f} s ({min(times):.1f}..{max(times):.1f}), {size / 1e6:.1f} MB")
    print(f"took {time.perf_counter() - start:.0f} s; loaded of the model libraries: {loaded or 'none'}")
    print(f"limit {LIMIT_SECONDS:g} s: {'within' if middle <= LIMIT_SECONDS else 'ABOVE'} the limit")
    return 0 if middle <= LIMIT_SECONDS and not loaded else 1


if __name__ == "__main__":
    sys.exit(main())
