"""Joules between two readings: of a GPU through NVML, of a CPU through RAPL's counters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whichtune.measure.reading import Reading

if TYPE_CHECKING:
    import torch

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter(Protocol):
    """A counter of energy that only grows, wraparound apart."""

    reason: str | None
    """Why nothing can be read; None when something can."""

    def read(self) -> Mapping[str, int]:
        """Return the counters' present values, in the meter's own unit."""
        ...

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> Reading[float]:
        """Return the energy between two readings."""
        ...


class NoMeter:
    """Stands where no energy can be read."""

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def read(self) -> Mapping[str, int]:
        """Return nothing."""
        return {}

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> Reading[float]:
        """Return the reason."""
        return Reading(None, self.reason or "energy was not read")


class RaplMeter:
    """Energy of all CPU packages, every process together (Linux powercap, counters in microjoules).

    Sub-zones are parts of their package and `psys` contains the packages, so neither is added. A counter that
    wraps once between two readings is corrected; twice cannot be noticed (at 100 W that takes over 40 minutes
    for the usual range of 262 kJ).
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones: dict[str, Path] = {}
        self._ranges: dict[str, int] = {}
        self.reason: str | None = self._open(root)

    def _open(self, root: Path) -> str | None:
        packages = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        if not packages:
            return f"no RAPL counters under {root}"
        try:
            for zone in packages:
                if not (zone / "name").read_text().startswith("package"):
                    continue
                _read_number(zone / "energy_uj")
                self._ranges[zone.name] = _read_number(zone / "max_energy_range_uj")
                self._zones[zone.name] = zone
        except (OSError, ValueError) as error:
            return f"RAPL counters cannot be read: {getattr(error, 'strerror', None) or error}"
        return None if self._zones else f"no RAPL counter of a whole CPU package under {root}"

    def read(self) -> Mapping[str, int]:
        """Return microjoules by zone; empty when one cannot be read."""
        try:
            return {name: _read_number(zone / "energy_uj") for name, zone in self._zones.items()}
        except (OSError, ValueError):
            return {}

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> Reading[float]:
        """Return the packages' joules between two readings, each counter unwrapped at most once."""
        if self.reason is not None:
            return Reading(None, self.reason)
        if not before or before.keys() != after.keys():
            return Reading(None, "RAPL counters could not be read at both ends")
        spent = 0
        for name, start in before.items():
            wrapped = after[name] < start
            spent += after[name] - start + (self._ranges[name] if wrapped else 0)
        return Reading(spent / 1e6)


class NvmlMeter:
    """Energy of one GPU, every process together (NVML, millijoules since the driver was loaded)."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle
        self.reason: str | None = None
        if not self.read():
            self.reason = "this GPU does not count its energy"

    def read(self) -> Mapping[str, int]:
        """Return the GPU's millijoules; empty when they cannot be read."""
        try:
            return {"gpu": int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))}
        except self._library.NVMLError:
            return {}

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> Reading[float]:
        """Return the GPU's joules between two readings."""
        if self.reason is not None:
            return Reading(None, self.reason)
        if not before or not after or after["gpu"] < before["gpu"]:
            return Reading(None, "NVML's energy counter could not be read at both ends")
        return Reading((after["gpu"] - before["gpu"]) / 1e3)


def choose_energy_meter(device: torch.device) -> EnergyMeter:
    """Return the energy meter of a device: NVML for a GPU, RAPL for a CPU, or one that says why there is none."""
    if device.type == "cpu":
        return RaplMeter()
    if device.type != "cuda":
        return NoMeter(f"no energy meter for devices of kind '{device.type}'")
    library = load_nvml()
    if isinstance(library, str):
        return NoMeter(library)
    import torch

    identity = str(torch.cuda.get_device_properties(device).uuid)
    try:
        handle = library.nvmlDeviceGetHandleByUUID(f"GPU-{identity.removeprefix('GPU-')}")
    except library.NVMLError as error:
        return NoMeter(f"NVML does not know this GPU: {error}")
    return NvmlMeter(library, handle)


def load_nvml() -> Any:
    """Return NVML's module, started, or a sentence saying why there is none."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return "NVML's Python package is not installed (`pip install nvidia-ml-py`)"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML does not start: {error}"
    return pynvml


def _read_number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
