"""What stops a trial that would otherwise fail in silence."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from whichtune.engine.assembly import Assembly
from whichtune.errors import DeadGradientError, DoesNotFitError, ModelError, NonFiniteError, TrialError

TELLING_STEPS = 3
"""Steps a shorter run must have had: one may be at learning rate 0, and LoRA's A has a gradient from then on."""
DEAD_AFTER_STEPS = 5
"""Steps within which every trained tensor must have had a gradient; LoRA's A has none in the first, since B is zero."""
MOST_OVERFLOWS = 10
"""Steps in a row that a scaled loss may overflow: a scaler halves its factor each time."""


class GradientWatch:
    """Remember which trained tensors have had a gradient other than zero; complain about the others once."""

    def __init__(self, trained: Mapping[str, nn.Parameter]) -> None:
        self.waiting = dict(trained)
        self.steps = 0

    def look(self) -> None:
        """Look at the gradients of one step, before the optimizer moves them."""
        if not self.waiting:
            return
        self.steps += 1
        alive = [name for name, tensor in self.waiting.items() if tensor.grad is not None and bool(tensor.grad.any())]
        for name in alive:
            del self.waiting[name]
        if self.steps >= DEAD_AFTER_STEPS:
            self.complain()

    def finish(self) -> None:
        """Look back at the end of a run that was too short for the bound, but long enough to tell."""
        if self.steps >= TELLING_STEPS:
            self.complain()

    def complain(self) -> None:
        """Raise if a tensor has never had a gradient."""
        if self.waiting:
            names = ", ".join(list(self.waiting)[:5])
            more = f" and {len(self.waiting) - 5} more" if len(self.waiting) > 5 else ""
            raise DeadGradientError(f"no gradient after {self.steps} steps: {names}{more}; they would not train")


@dataclass
class Overflows:
    """Judge each step's loss and gradient; a scaled loss may overflow now and then, and its scaler skips that step."""

    scaled: bool
    running: int = 0
    skipped: int = 0

    def allow(self, loss: float, norm: float, step: int) -> bool:
        """Return whether the step counts; raise where something is not a number and no scaler mends it."""
        if self.scaled and math.isfinite(loss) and not math.isfinite(norm) and self.running < MOST_OVERFLOWS:
            self.running += 1
            self.skipped += 1
            return False
        require_finite(loss, norm, step)
        self.running = 0
        return True


def require_finite(loss: float, norm: float, step: int) -> None:
    """Stop at the first loss or gradient that is not a number."""
    for thing, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise NonFiniteError(f"{thing} became {value} at step {step}; a lower learning rate or warm-up may help")


def require_room(assembly: Assembly, max_length: int) -> None:
    """Refuse a length that leaves no positions for the virtual rows in front of the text."""
    rows, limit = assembly.attachment.rows_in_front, assembly.backbone.reader.max_positions
    if rows and limit is not None and max_length + rows > limit:
        raise ModelError(
            f"training.max_length beside {rows} virtual rows",
            value=max_length,
            allowed=f"at most {limit - rows}: the model has {limit} positions",
            remedy="lower `training.max_length` or `virtual_tokens`",
        )


def require_only(optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]) -> None:
    """Stop unless the optimizer holds exactly the declared tensors."""
    held = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    if held != {id(tensor) for tensor in trained.values()}:
        raise TrialError("the optimizer holds other tensors than the method declares")


@contextmanager
def fitting_in_memory(device: torch.device) -> Generator[None]:
    """Turn an allocator's failure into one sentence; the batch size is never changed in silence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        need = torch.cuda.max_memory_allocated(device) / 1e9
        raise DoesNotFitError(f"does not fit: needs more than {need:.1f} GB on {device} at this batch size") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        raise DoesNotFitError(
            f"does not fit: this machine has too little memory at this batch size ({error})"
        ) from error
