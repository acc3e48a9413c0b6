"""Which device a trial runs on, what it is, and how many threads torch uses there.

torch is imported where it is needed, so that naming a device costs nothing.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichtune.errors import SpecError, did_you_mean
from whichtune.measure.cores import count_cores

if TYPE_CHECKING:
    import torch

PEAK_FLOPS: dict[str, dict[str, float]] = {
    "Tesla T4": {"float32": 8.1e12, "float16": 65e12},
    "Tesla V100-SXM2-16GB": {"float32": 15.7e12, "float16": 125e12},
    "Tesla V100-SXM2-32GB": {"float32": 15.7e12, "float16": 125e12},
    "NVIDIA A10": {"float32": 31.2e12, "float16": 125e12, "bfloat16": 125e12},
    "NVIDIA L4": {"float32": 30.3e12, "float16": 121e12, "bfloat16": 121e12},
    "NVIDIA A100-SXM4-40GB": {"float32": 19.5e12, "float16": 312e12, "bfloat16": 312e12},
    "NVIDIA A100-SXM4-80GB": {"float32": 19.5e12, "float16": 312e12, "bfloat16": 312e12},
    "NVIDIA H100 80GB HBM3": {"float32": 67e12, "float16": 989e12, "bfloat16": 989e12},
    "NVIDIA H200": {"float32": 67e12, "float16": 989e12, "bfloat16": 989e12},
}
"""Operations a second at most, dense, from the vendor's data sheets, by the exact name the driver gives.

float32 is the rate of the ordinary cores, which is what torch uses unless told otherwise. A device or type that is
not here has no known peak.
"""


def pick_device(name: str) -> torch.device:
    """Return the device a study names: `auto` is the first GPU where there is one, else the CPU."""
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        remedy = did_you_mean(name, ("auto", "cpu", "cuda"))
        raise SpecError("execution.device", value=name, allowed=_list_devices(), remedy=remedy)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= _count_gpus():
        remedy = "`whichtune doctor` shows why a GPU is not seen" if _count_gpus() == 0 else ""
        raise SpecError("execution.device", value=name, allowed=_list_devices(), remedy=remedy)
    return torch.device("cuda", index)


def synchroniser(device: torch.device) -> Callable[[], object] | None:
    """Return what waits for the device's pending work; None for a CPU, which has none."""
    if device.type != "cuda":
        return None
    import torch

    return lambda: torch.cuda.synchronize(device)


def describe_device(device: torch.device, threads: int | None = None) -> dict[str, Any]:
    """Return name, kind, cores, threads, memory in bytes and capability; None for what cannot be told.

    A GPU's capability is its compute capability, a CPU's the instruction set that torch's kernels use.
    """
    import torch

    facts: dict[str, Any] = {
        "kind": device.type,
        "name": None,
        "cores": count_cores(),
        "threads": threads if threads is not None else torch.get_num_threads(),
        "memory_bytes": None,
        "capability": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["name"] = properties.name
        facts["memory_bytes"] = properties.total_memory
        facts["capability"] = f"{properties.major}.{properties.minor}"
    elif device.type == "cpu":
        facts["name"] = read_cpu_name()
        facts["memory_bytes"] = read_memory_bytes()
        facts["capability"] = torch.backends.cpu.get_cpu_capability()
    return facts


def peak_flops(device_name: str | None, dtype: str) -> float | None:
    """Return the device's greatest rate for a type such as `bfloat16`, or None where it is not known."""
    return None if device_name is None else PEAK_FLOPS.get(device_name, {}).get(dtype)


def utilisation(flops: float, seconds: float, device_name: str | None, dtype: str) -> float | None:
    """Return the share of the device's peak that was reached; None on a device whose peak is not known."""
    peak = peak_flops(device_name, dtype)
    return None if peak is None or seconds <= 0 else flops / seconds / peak


def set_threads(threads: int | None = None) -> int:
    """Let torch use this many CPU threads, every core this process may use when None; return the number set."""
    import torch

    wanted = threads if threads is not None else count_cores()
    torch.set_num_threads(wanted)
    return wanted


@contextmanager
def using_threads(threads: int) -> Generator[None]:
    """Let torch use this many CPU threads inside and as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the processor's model name, or None where the system does not tell."""
    return read_cpu_field("model name", cpuinfo) or platform.processor() or None


def read_cpu_field(field: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return a field of the first processor in Linux's cpuinfo, such as `flags`."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field)
    return next(found, None)


def mkl_lags(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether MKL uses but half of a device's width: that of a processor with AVX-512 that is not Intel's.

    MKL chooses its code by the maker. Nothing is timed, so that a machine has one answer; of an unknown maker it is no.
    """
    import torch

    if device.type != "cpu" or read_cpu_field("vendor_id", cpuinfo) in (None, "GenuineIntel"):
        return False
    return torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def read_memory_bytes() -> int | None:
    """Return the machine's memory in bytes, or None where the system does not tell."""
    import psutil

    try:
        return int(psutil.virtual_memory().total)
    except (OSError, RuntimeError):
        return None


def read_free_bytes(device: torch.device) -> int | None:
    """Return the bytes of memory that a program could still take on a device, or None where the system does not tell.

    On a GPU what torch holds and does not use counts as free.
    """
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    import psutil

    try:
        return int(psutil.virtual_memory().available) if device.type == "cpu" else None
    except (OSError, RuntimeError):
        return None


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _list_devices() -> str:
    count = _count_gpus()
    gpus = ["cuda", *(f"cuda:{index}" for index in range(count))] if count else []
    return ", ".join(["auto", "cpu", *gpus]) + ("" if count else " (no GPU is seen here)")
