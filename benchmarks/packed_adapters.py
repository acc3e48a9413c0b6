"""Eight learning rates of LoRA in one pass over a frozen trunk, against one after another, on one GPU.

    python benchmarks/packed_adapters.py [--trials 8] [--batch 8] [--length 32] [--steps 20] [--rounds 3] [--dropout 0]
        [--evaluated 32] [--in-turn] [--tiny]

The trunk has the shape of Llama 3 8B (32 blocks of 4,096, grouped heads, 14,336 inside) and random weights in bfloat16:
its speed is that of trained ones. Adapters of rank 16 stand on query and value, texts are made up, of `--length` / 2
to `--length` tokens, padding is left out on both sides. A round takes `--steps` optimizer steps of every trial each
way, in turn; validation is left out. Dropout is off and both sides begin alike, so losses are to be alike: exits with 1
when the last ones are further apart than bfloat16 explains, or when a shared pass is slower. Then every trial
evaluates `--evaluated` texts: all in one pass unmerged, against one after another merged.

Without a GPU nothing is measured, and that is said. `--tiny` runs a small trunk in float32 on the CPU: it shows that
all of it works, not what it saves; two cores have no idle time to fill.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whichtune.bench.alternate import Comparison, alternate
from whichtune.bench.studies import LLAMA
from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.engine.optimizing import Arithmetic, warm_up_optimizer
from whichtune.engine.pace import Pace
from whichtune.engine.packed import Member, Pack
from whichtune.engine.portions import count_rows
from whichtune.engine.predict import predict
from whichtune.engine.predict_together import predict_together
from whichtune.engine.slots import Candidate, build_packed
from whichtune.engine.trial import Material, TunerTrial
from whichtune.measure.clock import PhaseClock
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import LoraSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.tasks import TextClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

OUT = Path(__file__).parent / "out" / "packed_adapters.json"
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
APART = {"bfloat16": 0.1, "float32": 1e-3}
"""How far apart, of each other, losses may lie after the steps of a round."""
WORDS = ("bad", "good")


@dataclass
class Losses:
    """The curve of one trial."""

    losses: list[float] = field(default_factory=list)

    def on_step(self, figures: Any, total: int) -> None:
        self.losses.append(figures.loss)

    def on_validation(self, step: int, score: float, metrics: Any) -> None:
        pass


def make_material(backbone: Backbone, rows: int, length: int, evaluated: int) -> Material:
    """Make up texts of half the length to all of it, a byte a token, in two classes by their letters."""
    draw = random.Random(0)
    examples = []
    for index in range(rows):
        label = index % 2
        text = "".join(draw.choices("aeiou" if label else "bcdfg", k=draw.randint(length // 2, length) - 2))
        examples.append(Example(f"train:{index}", "train", text, WORDS[label], f"made-up:{index}"))
    split = tuple(examples)
    report = DataReport("made up", {"train": {"bad": rows // 2, "good": rows - rows // 2}})
    test = split[:evaluated]
    data = DataSet({"train": split, "validation": split[:2], "test": test}, WORDS, "made-up", report)
    task = build_task(TextClassificationSpec(kind="text-classification"), WORDS)
    encoded = {name: task.encode(own, backbone.reader, length) for name, own in data.examples.items()}
    return Material(task, data, encoded)


def make_side(
    backbone: Backbone, material: Material, asked: argparse.Namespace, *, together: bool
) -> tuple[Callable[[], float], dict[str, Any]]:
    """Return what trains every trial from its start and gives its seconds, and where it leaves its figures."""
    found: dict[str, Any] = {}

    def run() -> float:
        trials = make_trials(backbone, material, asked)
        curves = [Losses() for _ in trials]
        pack = Pack(Pace(together=together))
        for place, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
            trial.listeners = (curve,)
            member = Member(place, trial, trial.prepare())
            member.run.keeper.every = member.run.keeper.last = 10**9  # never: steps alone are compared
            pack.add(member)
        reset_peak(backbone.device)
        start = time.perf_counter()
        pack.train()
        wait(backbone.device)
        seconds = time.perf_counter() - start
        errors = [str(member.error) for member in pack.members if member.error is not None]
        if errors or pack.pace.together is not together:
            raise RuntimeError("; ".join([*errors, pack.pace.reason]))
        found.update(losses=[curve.losses for curve in curves], peak_bytes=read_peak(backbone.device))
        for trial in trials:
            trial.assembly.attachment.detach()
        return seconds

    return run, found


def make_trials(backbone: Backbone, material: Material, asked: argparse.Namespace) -> list[TunerTrial]:
    """Put the adapters of all trials onto the backbone."""
    training = TrainingSpec(
        batch_size=asked.batch,
        max_length=asked.length,
        max_steps=asked.steps,
        epochs=1000,
        precision="float32" if asked.tiny else "bfloat16",
        head_dropout=0.0,
    )
    rates = np.geomspace(1e-4, 1e-3, asked.trials)
    methods = [LoraSpec(kind="lora", rank=16, alpha=32, dropout=asked.dropout, learning_rate=rate) for rate in rates]
    candidates = [Candidate(method, 0.0, Streams(seed)) for seed, method in enumerate(methods, start=1)]
    assemblies = build_packed(backbone, candidates, material.task.head())
    assemblies[0].rack.batched &= not asked.in_turn
    pairs, rows = zip(assemblies, methods, strict=True), count_rows("auto", backbone.device)
    return [TunerTrial(one, material, method, training, PhaseClock(), rows) for one, method in pairs]


def compare_evaluation(backbone: Backbone, material: Material, asked: argparse.Namespace) -> Comparison:
    """Predict the test texts with every trial's adapters, in one pass and one after another."""
    trials = make_trials(backbone, material, asked)
    arithmetic = Arithmetic(trials[0].training.precision, backbone.device)

    def apart() -> None:
        for one in trials:
            predict(one.assembly, material.task, "test", one.rows("test"), one.evaluation_batch, arithmetic)

    def timed(work: Callable[[], Any]) -> Callable[[], float]:
        def run() -> float:
            wait(backbone.device)
            start = time.perf_counter()
            work()
            wait(backbone.device)
            return time.perf_counter() - start

        return run

    ways = dict(zip(WAYS, (timed(lambda: predict_together(trials, "test", arithmetic)), timed(apart)), strict=True))
    for run in ways.values():
        run()
    compared = alternate(ways, asked.rounds)
    for one in trials:
        one.assembly.attachment.detach()
    return compared


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def read_peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def load(asked: argparse.Namespace) -> Backbone:
    config = TINY if asked.tiny else LLAMA
    spec = RandomBackbone(kind="random", family="llama", config=config)
    backbone = load_backbone(spec, LoadRequest(dtype="float32" if asked.tiny else "bfloat16", unpad=True))
    backbone.trunk.to("cpu" if asked.tiny else "cuda")
    return backbone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8, help="texts a step of each trial")
    parser.add_argument("--length", type=int, default=32, help="tokens of the longest text")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.0, help="of the adapters")
    parser.add_argument("--evaluated", type=int, default=32, help="texts that each trial evaluates")
    parser.add_argument("--in-turn", action="store_true", help="the adapters' own products one after another")
    parser.add_argument("--tiny", action="store_true", help="a small trunk on the CPU")
    asked = parser.parse_args()
    if not asked.tiny and not torch.cuda.is_available():
        print("NOT RUN: there is no CUDA device here, and nothing was measured.")
        print("On a machine with one (32 GB of its memory or more): python benchmarks/packed_adapters.py")
        print("`--tiny` shows on a CPU that both ways train alike, without a figure that means anything.")
        return 0
    warm_up_optimizer()
    backbone = load(asked)
    rows = max(64, asked.evaluated, asked.batch * asked.steps)
    material = make_material(backbone, rows, asked.length, asked.evaluated)
    sides = {way: make_side(backbone, material, asked, together=way == "one pass") for way in WAYS}
    for run, _ in sides.values():
        run()  # the first pays for allocation and kernels
    compared = alternate({way: run for way, (run, _) in sides.items()}, asked.rounds)
    evaluation = compare_evaluation(backbone, material, asked)
    return judge(asked, compared, evaluation, {way: found for way, (_, found) in sides.items()})


WAYS = ("one pass", "one after another")


def judge(
    asked: argparse.Namespace, compared: Comparison, evaluation: Comparison, found: dict[str, dict[str, Any]]
) -> int:
    """Print and keep the figures; return 1 where something is not as it should be."""
    pairs = zip(*(found[way]["losses"] for way in WAYS), strict=True)
    apart = max(abs(left[-1] - right[-1]) / abs(right[-1]) for left, right in pairs)
    limit = APART["float32" if asked.tiny else "bfloat16"]
    faster, evaluated = (1 / one.ratio("one pass") for one in (compared, evaluation))
    device = "CPU" if asked.tiny else torch.cuda.get_device_name()
    print(
        f"{device}; {asked.trials} trials, batches of {asked.batch}, up to {asked.length} tokens, {asked.steps} steps"
    )
    print(compared)
    for way in WAYS:
        peak = found[way]["peak_bytes"]
        print(f"{way}: {'peak memory not measured here' if peak is None else f'{peak / 1e9:.1f} GB allocated at most'}")
    print(f"one pass is {faster:.2f} times as fast; last losses {apart:.1e} apart, {limit:g} allowed")
    print(f"evaluations of {asked.evaluated} texts: one pass is {evaluated:.2f} times as fast as merged, one by one")
    if asked.tiny:
        print("NO FIGURE OF A GPU: a small trunk on the CPU shows that it works, not what it saves.")
    OUT.parent.mkdir(exist_ok=True)
    kept = {"device": device, **vars(asked), "seconds": dict(compared.seconds), "faster": faster, "apart": apart}
    kept |= {"evaluation_seconds": dict(evaluation.seconds), "evaluation_faster": evaluated}
    kept["peak_bytes"] = {way: found[way]["peak_bytes"] for way in WAYS}
    OUT.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return 0 if apart <= limit and (asked.tiny or faster >= 1) else 1


if __name__ == "__main__":
    sys.exit(main())
