"""How near `advise` comes: its estimates of small offline twins against the trials and probes that follow.

    python benchmarks/advise.py [--only nli digits] [--plain] [--threads 1 --clock processor]

Each twin is advised first and run right after, in processes of their own, with caches that hold its weights and none of
its features. On a busy machine take one thread and the processor's clock: every process then counts its own time alone.
Exits with 1 when a time is off by more than 2 times or a peak by more than 25 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from whichtune.fetch.cache import cache_root
from whichtune.records.folder import find_study
from whichtune.spec.engine import PLAIN
from whichtune.spec.read import read_study
from whichtune.spec.write import dump_study

OUT = Path(__file__).parent / "out" / "advise.json"
TWINS = Path(__file__).parent.parent / "studies" / "offline"
TIME_BOUND, PEAK_BOUND = 2.0, 1.25
LEAST_SECONDS = 1.0
"""A shorter time is shown and not judged: it is start-up and rounding."""
QUICK = (
    "seeds=[1]",
    "contender_seeds=0",
    "execution.check=false",
    "execution.device=cpu",
    "measure.probe_steps=3",
    "measure.latency_repeats=1",
    "engine.pack=off",
)
STUDIES = {
    "nli": ("small", ("full", "lora", "lora-published", "p-tuning"), ()),
    "tweets": ("small", ("full", "lora", "frozen-features", "last-layers"), ("backbones.whole.keep_blocks=3",)),
    "digits": ("small", ("lora", "frozen-features", "visual-prompts-deep", "full"), ()),
    "nli-qlora": ("small", ("qlora", "lora"), ()),
    "ranks": ("small", ("untouched", "lora-1", "full"), ("measure.probe_steps=2",)),
    "summaries": ("small", ("untouched", "lora"), ("measure.probe_steps=2",)),
}
"""Twin to its scale, the methods that are taken, and settings; the majority baseline comes by itself."""
DEFAULT = ("nli", "tweets", "digits", "nli-qlora")


def write_study(name, threads, place, *, plain=False):
    """Write the twin with the methods that are taken; return the file."""
    scale, methods, settings = STUDIES[name]
    overrides = [*QUICK, f"execution.threads={threads}", *settings]
    study = read_study(TWINS / f"{name}.yaml", scale=scale, overrides=overrides)
    taken = {method: study.methods[method] for method in methods}
    backbones = dict(list(study.backbones.items())[:1])
    study = study.model_copy(update={"methods": taken, "backbones": backbones, "scales": {}})
    study = study.model_copy(update={"engine": PLAIN}) if plain else study
    path = place / f"{name}.yaml"
    path.write_text(dump_study(study, {}), encoding="utf-8")
    return path


def make_cache(place):
    """Return a cache with links to all that is fetched, and without any features or rows of frozen blocks."""
    cache = place / "cache"
    cache.mkdir()
    for entry in cache_root().iterdir():
        if entry.name not in ("embeddings", "prefixes"):
            (cache / entry.name).symlink_to(entry)
    return cache


def set_clock(place, clock):
    """Return what lets every process that is started count seconds of its processor, where that is asked for."""
    if clock == "wall":
        return {}
    lines = ("import time", "time.perf_counter = time.process_time", "time.perf_counter_ns = time.process_time_ns")
    (place / "sitecustomize.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"PYTHONPATH": str(place)}


def call(arguments, settings):
    environment = os.environ | settings
    command = [sys.executable, "-m", "whichtune", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(done.stderr)
        raise SystemExit(f"`{' '.join(command[2:])}` ended with {done.returncode}")
    return json.loads(done.stdout)


def compare(advice, folder):
    """Return what was estimated and what was measured of each candidate: name, quantity, estimate, measured."""
    study = find_study(folder)
    probes = study.read_probes()
    trials = {one.candidate: one for one in study.read_trials()}
    for advised in advice["candidates"]:
        estimate = advised["estimate"]
        trial = trials[estimate["candidate"]]
        if estimate["family"] == "baseline" or trial.status != "finished":
            continue
        name = estimate["candidate"]
        spent = {phase: figures.seconds for phase, figures in trial.phases.items()}
        passed = spent.get("encode", 0.0) if estimate["shares"] else 0.0
        if estimate["family"] == "tuner":
            asked = estimate["training_seconds"]["value"] + (estimate["shared_seconds"]["value"] or 0.0)
            yield name, "training", asked, spent["step"] + passed
            counts = trial.parameters.trainable, trial.adapter_bytes
            assert (estimate["trainable"]["value"], estimate["adapter_bytes"]["value"]) == counts, counts
        answering = estimate["validation_seconds"]["value"] + estimate["test_seconds"]["value"]
        yield name, "answering", answering, spent["validate"] + spent["predict"]
        probe = None if trial.probe is None else probes[trial.probe].alone
        if probe is not None and probe.step_seconds is not None:
            yield name, "step alone", estimate["step_seconds"]["value"], probe.step_seconds
        if probe is not None and probe.peak_bytes is not None:
            yield name, "peak alone", estimate["peak_bytes"]["value"], probe.peak_bytes


def show(name, rows):
    """Print one twin; return what is out of bounds."""
    print(f"\n{name}: estimated / measured")
    faults = []
    for candidate, what, estimate, measured in rows:
        ratio = estimate / measured
        off = max(ratio, 1 / ratio)
        is_peak = what == "peak alone"
        judged = is_peak or max(estimate, measured) >= LEAST_SECONDS
        bound = PEAK_BOUND if is_peak else TIME_BOUND
        wrong = judged and off > bound
        faults += [f"{name}: {candidate}, {what}: {ratio:.2f}"] if wrong else []
        unit = (
            f"{estimate / 1e6:9,.0f} of {measured / 1e6:9,.0f} MB"
            if is_peak
            else f"{estimate:9.2f} of {measured:9.2f} s "
        )
        print(f"  {candidate:28} {what:10} {unit}  {ratio:5.2f}{' !' if wrong else '' if judged else ' (not judged)'}")
    for what in dict.fromkeys(row[1] for row in rows):
        offs = [max(one / other, other / one) for _, kind, one, other in rows if kind == what]
        print(f"  {what}: off by {median(offs):.2f} times in the median, {max(offs):.2f} at worst")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=DEFAULT, help="twins to take")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--plain", action="store_true", help="with everything switched off that saves work")
    asked = parser.parse_args()
    found, faults = {}, []
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            study = write_study(name, asked.threads, place, plain=asked.plain)
            settings = {"WHICHTUNE_CACHE": str(make_cache(place)), "OMP_NUM_THREADS": str(asked.threads)}
            settings |= set_clock(place, asked.clock)
            advice = call(["advise", study, "--json"], settings)
            call(["run", study, "--runs", place / "runs", "--json"], settings)
            rows = list(compare(advice, place / "runs" / name))
        found[name] = [list(row) for row in rows]
        faults += show(name, rows)
    for fault in faults:
        print(f"OUT OF BOUNDS: {fault}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(
        json.dumps({"clock": asked.clock, "threads": asked.threads, "estimated and measured": found}, indent=1) + "\n"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
