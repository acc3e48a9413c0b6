"""Peak memory of a phase, and the bytes a forward pass keeps for the backward one.

torch is imported where it is needed, so that the resident set can be read without it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from whichtune.measure.reading import Reading

if TYPE_CHECKING:
    import torch

    from whichtune.measure.clock import PeakMeter

PROCESS = Path("/proc/self")
SLACK_BYTES = 64 * 2**20
"""How far above the resident set a freshly reset peak may lie: other threads go on allocating."""
_counting: ContextVar[SavedBytes | None] = ContextVar("saved_bytes", default=None)
"""The count inside whose `saved_bytes` a pass runs."""


def read_rss(process: Path = PROCESS) -> Reading[int]:
    """Read the bytes of this process that are in memory now."""
    return _read_status("VmRSS", process)


def read_peak_rss(process: Path = PROCESS) -> Reading[int]:
    """Read the greatest resident set since the last reset, or since the process started."""
    return _read_status("VmHWM", process)


def reset_peak_rss(process: Path = PROCESS) -> str | None:
    """Let the kernel forget the resident-set peak so far; return why it did not, or None.

    Writing 5 to `clear_refs` is documented in proc(5). Some sandboxes take the write and do nothing, so the
    peak is read back.
    """
    try:
        (process / "clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        return f"the kernel does not let the resident-set peak be reset: {error.strerror or error}"
    peak, now = read_peak_rss(process), read_rss(process)
    if peak.value is None or now.value is None:
        return peak.reason or now.reason
    if peak.value > now.value + SLACK_BYTES:
        return "the kernel took the reset of the resident-set peak and did not follow it"
    return None


def _read_status(key: str, process: Path) -> Reading[int]:
    try:
        lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return Reading(None, "the resident set is read from Linux's /proc, which is not here")
    for line in lines:
        name, _, rest = line.partition(":")
        if name == key:
            return Reading(int(rest.split()[0]) * 1024)
    return Reading(None, f"this kernel does not tell {key}")


class ResidentMeter:
    """Resident-set peak of this process, reset through the kernel."""

    def __init__(self, process: Path = PROCESS) -> None:
        self._process = process
        self.reason = reset_peak_rss(process)
        """Why there are no figures; None when there are."""

    def reset(self) -> None:
        """Start a new stretch at the present resident set."""
        if self.reason is None:
            self.reason = reset_peak_rss(self._process)

    def read(self) -> int | None:
        """Return the peak resident bytes since the reset."""
        return None if self.reason is not None else read_peak_rss(self._process).value


class CudaMeter:
    """Peak bytes that torch's allocator has handed out on one GPU."""

    reason: str | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        """Start a new stretch at what is allocated now."""
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)

    def read(self) -> int | None:
        """Return the peak allocated bytes since the reset."""
        import torch

        return torch.cuda.max_memory_allocated(self._device)

    def read_reserved(self) -> int:
        """Return the peak bytes reserved by the allocator since the reset."""
        import torch

        return torch.cuda.max_memory_reserved(self._device)


def choose_meter(device: torch.device) -> tuple[PeakMeter | None, str | None]:
    """Return the meter of a device, or None and why there is none."""
    if device.type == "cuda":
        return CudaMeter(device), None
    if device.type != "cpu":
        return None, f"no memory meter for devices of kind '{device.type}'"
    meter = ResidentMeter()
    return (meter, None) if meter.reason is None else (None, meter.reason)


def read_device_bytes(device: torch.device) -> Reading[int]:
    """Read what is in use on the whole GPU as the driver counts it: every process, and memory outside the allocator."""
    if device.type != "cuda":
        return Reading(None, f"a driver's count exists on GPUs only; this device is '{device.type}'")
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return Reading(total - free)


class SavedBytes:
    """Running count of what the operations inside `saved_bytes` keep for the backward pass."""

    def __init__(self, states: Iterable[torch.Tensor]) -> None:
        self._known = {storage_key(tensor): weak_storage(tensor) for tensor in states}
        self._bytes = 0
        self._unknown: str | None = None

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count the tensor's storage unless it was counted or belongs to a state; return its numbers, to be kept."""
        try:
            key = storage_key(tensor)
        except (NotImplementedError, RuntimeError):
            self._unknown = f"a tensor without a storage of its own was saved (layout {tensor.layout})"
            return tensor.detach()
        if key not in self._known:
            self._known[key] = weak_storage(tensor)
            self._bytes += tensor.untyped_storage().nbytes()
        return tensor.detach()  # an operation that keeps its own output would else hold itself

    @property
    def reading(self) -> Reading[int]:
        """The bytes so far."""
        return Reading(self._bytes) if self._unknown is None else Reading(None, self._unknown)


@contextmanager
def saved_bytes(states: Iterable[torch.Tensor]) -> Generator[SavedBytes]:
    """Count the bytes kept for the backward pass by the forward pass inside.

    `states` are the parameters and buffers of the model: saving a weight keeps a reference and costs nothing,
    so their storages are left out. Everything else counts once per storage, in full even where a slice of it
    was saved, since the whole of it stays alive. Wrap one forward pass, without its backward pass.
    """
    from torch.autograd.graph import saved_tensors_hooks

    count = SavedBytes(states)
    token = _counting.set(count)
    try:
        with saved_tensors_hooks(count.add, _give_back):
            yield count
    finally:
        _counting.reset(token)


def note_saved(tensor: torch.Tensor) -> None:
    """Count a tensor that hooks of someone else keep: they stand before those of `saved_bytes`."""
    count = _counting.get()
    if count is not None:
        count.add(tensor)


def _give_back(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def storage_key(tensor: torch.Tensor) -> int:
    """Return the number by which a tensor's storage is known while it lives."""
    return int(tensor.untyped_storage()._cdata)  # pyright: ignore[reportPrivateUsage]


def weak_storage(tensor: torch.Tensor) -> object:
    """Hold a storage's identity, not its memory: a freed storage's key is then not given to a new one."""
    from torch.multiprocessing.reductions import StorageWeakRef

    return StorageWeakRef(tensor.untyped_storage())
