"""How long one forward pass takes: warmed up, synchronised, median and 95th percentile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Forward time of one batch."""

    median_seconds: float
    p95_seconds: float


def measure_latency(
    forward: Callable[[], object],
    *,
    repeats: int,
    warm_up: int = 3,
    synchronise: Callable[[], object] | None = None,
    now: Callable[[], int] = time.perf_counter_ns,
) -> Latency:
    """Time `forward` on its own, `repeats` times after `warm_up` untimed ones.

    The device is waited for before the clock starts and before it stops. The percentile interpolates linearly.
    Gradients and modes are the caller's business.
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"repeats: got {repeats}, at least 1; warm_up: got {warm_up}, at least 0")
    wait = synchronise or _nothing
    for _ in range(warm_up):
        forward()
    seconds: list[float] = []
    for _ in range(repeats):
        wait()
        start = now()
        forward()
        wait()
        seconds.append((now() - start) / 1e9)
    median, p95 = np.percentile(seconds, (50, 95))
    return Latency(float(median), float(p95))


def _nothing() -> None:
    """Wait for nothing: a CPU has finished when the call returns."""
