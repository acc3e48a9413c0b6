"""Float32 products by oneDNN against those by MKL, on this processor.

    python benchmarks/products.py [--threads 1 2] [--rounds 15]

Shapes are those of maps in MiniLM, SmolLM2 and a model of seven billion weights, for few tokens and for those of small
and large batches: forward, and backward by rows and by weights, as `models/wide_products.py` multiplies them and as
torch does. A round times every product once each way, in turn. Printed are operations a second of both and their
ratio, median of the rounds, and the time of a first product of a shape, for which oneDNN prepares code. Exits with 1
where `engine.onednn` would be on here and a product of at least its size is slower with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from whichtune.bench.alternate import alternate
from whichtune.measure.cores import count_cores
from whichtune.measure.device import mkl_lags, read_cpu_field, read_cpu_name
from whichtune.models.wide_products import LEAST_MULTIPLICATIONS, can_widen, project

OUT = Path(__file__).parent / "out" / "products.json"
MAPS: dict[str, tuple[tuple[int, int], tuple[int, ...]]] = {
    "MiniLM, attention": ((384, 384), (64, 437, 2048)),
    "MiniLM, wider": ((384, 1536), (16, 64, 437, 2048)),
    "SmolLM2, wider": ((576, 1536), (16, 64, 437, 2048)),
    "SmolLM2, tokens": ((576, 49152), (1, 4, 16, 64)),
    "7B, wider": ((4096, 11008), (1, 4)),
}
"""Width and outputs, and the numbers of rows: few of them as where an answer is written."""
TIMES = ("first", "second")
LEAST_TRAINED = 16
"""Rows from which on the backward pass is timed, too: fewer are those of answers that are written."""
FRESH = range(300, 420, 3)
"""Numbers of rows that are met for the first time."""
Multiply = Callable[[Tensor, Tensor], Tensor]


def list_products(rows: int, sizes: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what is multiplied forward, and backward by rows and by weights, as (rows, weight [out, in])."""
    width, out = sizes
    given, weight, gradient = torch.randn(rows, width), torch.randn(out, width), torch.randn(rows, out)
    forward = {"forward": (given, weight)}
    if rows < LEAST_TRAINED:
        return forward
    return forward | {"by rows": (gradient, weight.t()), "by weight": (gradient.t(), given.t())}


def make_timed(multiply: Multiply, pair: tuple[Tensor, Tensor]) -> Callable[[], float]:
    """Return what multiplies once and gives its seconds."""

    def run() -> float:
        start = time.perf_counter()
        multiply(*pair)
        return time.perf_counter() - start

    return run


def compare(threads: int, rounds: int) -> list[dict[str, Any]]:
    """Time every product both ways with so many threads."""
    torch.set_num_threads(threads)
    found = []
    for name, (sizes, counts) in MAPS.items():
        for rows in counts:
            for what, pair in list_products(rows, sizes).items():
                sides = {"oneDNN": make_timed(project, pair), "MKL": make_timed(functional.linear, pair)}
                for run in sides.values():
                    run()
                compared = alternate(sides, rounds)
                work = 2 * rows * sizes[0] * sizes[1]
                rates = {side: work / sorted(own)[len(own) // 2] / 1e9 for side, own in compared.seconds.items()}
                faster, large = 1 / compared.ratio("oneDNN"), work / 2 >= LEAST_MULTIPLICATIONS
                told = f"{rates['oneDNN']:6.0f} against {rates['MKL']:4.0f} GFLOP/s, {faster:5.2f} times as fast"
                print(f"{threads} threads, {name:18} {rows:5} rows, {what:9}  {told}{'' if large else ', not used'}")
                found.append({"threads": threads, "map": name, "rows": rows, "what": what, "rates": rates})
                found[-1] |= {"faster": faster, "used": large}
    return found


def time_first(threads: int) -> dict[str, float]:
    """Return the mean milliseconds of a first and of a second product of a number of rows."""
    torch.set_num_threads(threads)
    weight = torch.randn(1024, 448)
    given = [torch.randn(rows, 448) for rows in FRESH]
    return {name: 1e3 * sum(make_timed(project, (one, weight))() for one in given) / len(given) for name in TIMES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, count_cores()}))
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    if not can_widen():
        print("NOT RUN: this build of torch has no oneDNN.")
        return 0
    used = mkl_lags(torch.device("cpu"))
    print(f"{read_cpu_name()} ({read_cpu_field('vendor_id')}), {torch.backends.cpu.get_cpu_capability()}")
    print(f"`engine.onednn` is {'on' if used else 'off, whatever the study says,'} on this processor")
    found = [one for threads in asked.threads for one in compare(threads, asked.rounds)]
    first = time_first(asked.threads[-1])
    print(f"a first product of a shape takes {first['first']:.2f} ms, the next of it {first['second']:.2f} ms")
    OUT.parent.mkdir(exist_ok=True)
    kept = {"processor": read_cpu_name(), "used": used, "first": first, "found": found}
    OUT.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return 1 if used and any(one["used"] and one["faster"] < 1 for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
