"""How many cores this process may use, which is often fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def count_cores(cgroup: Path = CGROUP) -> int:
    """Return the cores this process may run on: its affinity, bounded by a container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, quota))


def _read_quota(cgroup: Path) -> int | None:
    """Return the cores a cgroup grants, rounded up; None without a bound (kernel documentation, cpu.max)."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None
