"""Processor, memory, GPUs, and which measurements can be taken on them."""

from __future__ import annotations

import ctypes
import os
import sys

import psutil

from whichtune.inspect.finding import Finding
from whichtune.measure.cores import count_cores
from whichtune.measure.device import read_cpu_field, read_cpu_name
from whichtune.measure.energy import RaplMeter, load_nvml
from whichtune.measure.environment import read_version
from whichtune.measure.memory import reset_peak_rss

GIB = 2**30
LITTLE_MEMORY_BYTES = 2 * GIB
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""Names of bfloat16 instructions in Linux's cpuinfo, x86 and Arm."""


def check_machine() -> list[Finding]:
    """Look at the processor, its arithmetic, the threads and the memory."""
    cores = count_cores()
    known = os.cpu_count() or cores
    here = f"{cores}" if cores == known else f"{cores} of the machine's {known}"
    return [
        Finding("machine", "processor", "ok", read_cpu_name() or "unknown"),
        Finding("machine", "cores", "ok", here),
        check_threads(cores),
        check_bf16(),
        check_free_memory(),
    ]


def check_threads(cores: int) -> Finding:
    """Tell which settings bound the threads of the linear algebra."""
    settings = [f"{name}={os.environ[name]}" for name in THREAD_SETTINGS if name in os.environ]
    if not settings:
        return Finding("machine", "threads", "ok", f"no setting in the environment: torch may use {cores}")
    remedy = "a study's `execution.threads` goes before these, and is recorded"
    return Finding("machine", "threads", "ok", ", ".join(settings), remedy)


def check_bf16() -> Finding:
    """Tell whether the processor has bfloat16 instructions; without them it is far slower than float32."""
    flags = read_cpu_field("flags") or read_cpu_field("Features")
    if flags is None:
        return Finding("machine", "bfloat16", "note", "unknown: this system does not list the processor's instructions")
    found = sorted(BF16_FLAGS & set(flags.split()))
    if found:
        return Finding("machine", "bfloat16", "ok", f"instructions: {', '.join(found)}")
    remedy = "keep `precision: float32` on this processor; bfloat16 would be far slower"
    return Finding("machine", "bfloat16", "note", "the processor has no instructions for it", remedy)


def check_free_memory() -> Finding:
    """Tell how much memory is free."""
    memory = psutil.virtual_memory()
    value = f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    if memory.available >= LITTLE_MEMORY_BYTES:
        return Finding("machine", "memory", "ok", value)
    return Finding("machine", "memory", "note", value, "small models only; close other programs")


def check_devices() -> list[Finding]:
    """List the GPUs; torch is imported only where there is a driver."""
    if not has_driver():
        return [Finding("devices", "gpu", "note", "none: no NVIDIA driver here", "studies run on the CPU")]
    version = read_version("torch")
    if version is None:
        return [Finding("devices", "gpu", "note", "a driver is there, torch is not")]
    import torch

    if not torch.cuda.is_available():
        build = f"torch {version} is a CPU build" if torch.version.cuda is None else f"torch {version} sees no GPU"
        remedy = f"studies run on the CPU; a CUDA build of torch {version.partition('+')[0]} would use the GPU"
        return [Finding("devices", "gpu", "note", f"a driver is there, but {build}", remedy)]
    return [describe_gpu(index) for index in range(torch.cuda.device_count())]


def describe_gpu(index: int) -> Finding:
    """Tell one GPU's name, memory, capability and half-precision types."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    types = "bfloat16 and float16" if properties.major >= 8 else "float16; bfloat16 only emulated"
    value = (
        f"{properties.name}, {format_bytes(free)} free of {format_bytes(total)}, "
        f"capability {properties.major}.{properties.minor}, {types}"
    )
    return Finding("devices", f"cuda:{index}", "ok", value)


def has_driver() -> bool:
    """Tell whether NVIDIA's driver library can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def check_measurements() -> list[Finding]:
    """Tell which measurements a record made here will hold as None, and why."""
    findings = [
        tell("peak memory, CPU", "resident-set peak, reset for each phase", reset_peak_rss()),
        tell("energy, CPU", "RAPL, all packages and processes", RaplMeter().reason),
    ]
    if not has_driver():
        reason = "no NVIDIA driver here"
        return [*findings, tell("peak memory, GPU", "", reason), tell("energy, GPU", "", reason)]
    library = load_nvml()
    return [
        *findings,
        tell("peak memory, GPU", "allocated, reserved, and in use on the device", None),
        tell("energy, GPU", "NVML, all processes", library if isinstance(library, str) else None),
    ]


def tell(name: str, what: str, reason: str | None) -> Finding:
    """Put a measurement, or the reason why it will be None, into words."""
    if reason is None:
        return Finding("measurements", name, "ok", what)
    return Finding("measurements", name, "note", f"None: {reason}")


def format_bytes(count: float) -> str:
    """Write bytes with the unit that keeps the number short."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
