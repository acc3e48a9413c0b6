"""What each switch of `engine` saves: whole trials on movie reviews with MiniLM, with it and without, in turn.

    python benchmarks/engine_switches.py [--rows 400] [--rounds 3] [--epochs 1] [--threads 1]

unpad         LoRA, full fine-tuning and the last layer, random batches of 16, the trunk with padding and without
narrow        the same, the last block for the rows that the head reads and for all, with `unpad` on both sides
onednn        the same, large products by oneDNN and by MKL, with both; only where MKL lags behind
recompute     the same in batches of 256, rows made again in the backward pass and kept for it, with the first two
reuse_prefix  the last layer over 5 epochs, the frozen blocks in every step and once a text, with `unpad` on both sides
dequantize_once  QLoRA, four-bit weights unpacked once a trial and in every product, with `unpad` on both sides

A trial is its training, the validation after each epoch and the prediction of the test rows. Kept prefixes go into a
new and empty folder, so the pass that fills it is in the time. Dropout is off, so both sides are to end alike: exits
with 1 when a loss of a step is further apart than 1e-4 of it, when fewer than 99.5 % of the predictions agree, or when
a switch makes a row slower than without it. Processor seconds, which other work on the machine moves less than the
clock, beside seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from whichtune.bench.alternate import Comparison, alternate
from whichtune.data.load import load_data
from whichtune.engine.build import build_assembly
from whichtune.engine.encoding import encode_splits
from whichtune.engine.optimizing import warm_up_optimizer
from whichtune.engine.prefix_cache import Keeping, with_prefix
from whichtune.engine.trial import Material, TunerTrial
from whichtune.fetch.cache import cache_root
from whichtune.measure.clock import PhaseClock
from whichtune.measure.device import mkl_lags
from whichtune.models.backbone import Backbone, LoadRequest
from whichtune.models.dequantizing import Allowance
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import Quantization
from whichtune.spec.backbones import MiniLMBackbone
from whichtune.spec.methods import MethodSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import TextClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

OUT = Path(__file__).parent / "out" / "engine_switches.json"
EVALUATION_BATCH, LARGE_BATCH = 64, 256
AGREE, APART = 0.995, 1e-4
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 8, "dropout": 0.0, "learning_rate": 1e-3},
    "full": {"kind": "full", "learning_rate": 5e-5},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-4},
    "qlora": {"kind": "qlora", "rank": 8, "dropout": 0.0, "learning_rate": 1e-3},
}
QUIET = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass
class Side:
    """One way of running a trial, and what its last run gave."""

    unpad: bool
    prefix: bool
    narrow: bool = False
    dequantize: bool = False
    recompute: bool = False
    onednn: bool = False
    losses: list[float] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def on_step(self, figures: Any, total: int) -> None:
        self.losses.append(figures.loss)

    def on_validation(self, step: int, score: float, metrics: Any) -> None:
        pass


def load(quantization: Quantization | None = None, *, widen: bool = False) -> Backbone:
    """Load MiniLM without the dropout of its own."""
    request = LoadRequest(unpad=True, narrow=True, quantization=quantization, widen=widen)
    backbone = load_backbone(MiniLMBackbone(kind="minilm"), request)
    for module in backbone.trunk.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    for name in QUIET:
        setattr(backbone.trunk.config, name, 0.0)
    return backbone


def make_run(
    backbone: Backbone, material: Material, name: str, side: Side, training: TrainingSpec
) -> Callable[[], float]:
    """Return what runs one whole trial and gives its seconds."""
    method = TypeAdapter(MethodSpec).validate_python(METHODS[name])

    def run() -> float:
        side.losses = []
        with tempfile.TemporaryDirectory() as folder:
            start, processor = time.perf_counter(), time.process_time()
            once = Allowance() if side.dequantize else None
            ways = {"unpads": side.unpad, "narrows": side.narrow, "spares": side.recompute}
            own = replace(backbone, dequantizes=once, **ways)
            assembly = build_assembly(own, method, material.task.head(), training.head_dropout, Streams(1))
            try:
                given = material
                if side.prefix:
                    keeping = Keeping(Path(folder), 4_000_000_000, EVALUATION_BATCH, training.precision)
                    given, _ = with_prefix(assembly, material, keeping)
                trial = TunerTrial(assembly, given, method, training, PhaseClock(), EVALUATION_BATCH, (side,))
                outcome = trial.run()
            finally:
                assembly.attachment.detach()
            seconds = time.perf_counter() - start
            side.processor.append(time.process_time() - processor)
        side.answers = list(outcome.predictions[-1].parsed)
        return seconds

    return run


def judge(name: str, sides: tuple[Side, Side], compared: Comparison) -> dict[str, Any]:
    """Print a row and return its figures."""
    on, off = sides
    ratios = [other / own for own, other in zip(on.processor, off.processor, strict=True)]
    apart = max(abs(a - b) / abs(b) for a, b in zip(on.losses, off.losses, strict=True))
    agree = float(np.mean([a == b for a, b in zip(on.answers, off.answers, strict=True)]))
    saved = 1 / compared.ratio("on")
    middle = float(np.median(ratios))
    fine = apart <= APART and agree >= AGREE and middle >= 1
    print(
        f"{name:28} {middle:5.2f} x by processor ({min(ratios):.2f}..{max(ratios):.2f}), {saved:5.2f} x by clock; "
        f"losses {apart:.0e} apart, {agree:.1%} agree {'' if fine else '  NOT AS MEANT'}",
        flush=True,
    )
    return {"row": name, "processor": middle, "clock": saved, "apart": apart, "agree": agree, "fine": fine}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--epochs", type=int, default=1, help="of the rows on padding; the last layer's prefix has 5 times as many"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="rows, by their first word")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    sizes = {"train": asked.rows, "validation": 100, "test": 400}
    data = load_data(DataSpec.model_validate({"source": {"kind": "movie-reviews"}, "sizes": sizes}))
    task = build_task(TextClassificationSpec(kind="text-classification"), data.labels)
    backbone, quantized, lags = load(), load(Quantization()), mkl_lags(torch.device("cpu"))
    wide = load(widen=True) if lags else backbone
    training = TrainingSpec(epochs=asked.epochs, batch_size=16, max_length=128, head_dropout=0.0)
    material = Material(task, data, encode_splits(data, task, backbone.encoder, training.max_length, cache_root()))
    lengths = material.encoded["train"].lengths
    print(f"{asked.rows} reviews, {lengths.sum():,} tokens, {asked.threads} threads", flush=True)
    warm_up_optimizer()
    rows = [(f"unpad, {name}", name, Side(True, False), Side(False, False), training) for name in METHODS]
    rows += [(f"narrow, {name}", name, Side(True, False, True), Side(True, False), training) for name in METHODS]
    if lags:
        for name in ("lora", "full", "last-layers"):
            on, off = (Side(True, False, True, onednn=way) for way in (True, False))
            rows.append((f"onednn, {name}", name, on, off, training))
    large = training.model_copy(update={"batch_size": LARGE_BATCH})
    rows += [
        (f"recompute, {name}", name, Side(True, False, True, recompute=True), Side(True, False, True), large)
        for name in METHODS
    ]
    long = training.model_copy(update={"epochs": 5.0 * asked.epochs})
    rows.append(("reuse_prefix, last-layers", "last-layers", Side(True, True), Side(True, False), long))
    rows.append(("all, last-layers", "last-layers", Side(True, True, True, recompute=True), Side(False, False), long))
    once = Side(True, False, dequantize=True)
    rows.append(("dequantize_once, qlora", "qlora", once, Side(True, False), training))
    rows = [row for row in rows if not asked.only or row[0].split(",")[0] in asked.only]
    found = []
    for told, name, on, off, how in rows:
        runs = {}
        for way, side in (("on", on), ("off", off)):
            given = quantized if name == "qlora" else wide if side.onednn else backbone
            runs[way] = make_run(given, material, name, side, how)
        found.append(judge(told, (on, off), alternate(runs, asked.rounds)))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"rows": asked.rows, "rounds": asked.rounds, "found": found}, indent=1), encoding="utf-8")
    return 0 if all(one["fine"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
