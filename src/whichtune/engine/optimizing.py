"""The optimizer, its schedule and the arithmetic of a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from whichtune.errors import SpecError
from whichtune.spec.training import TrainingSpec


def build_optimizer(
    trained: Mapping[str, nn.Parameter],
    learning_rate: float,
    training: TrainingSpec,
    head_learning_rate: float | None = None,
) -> torch.optim.AdamW:
    """AdamW over exactly the trained tensors; matrices decay, vectors (biases, norms) do not.

    The head may have a rate of its own: rows of a soft prompt need steps that would throw a head about.
    """
    head = {name: tensor for name, tensor in trained.items() if name.startswith("head.")}
    others = {name: tensor for name, tensor in trained.items() if name not in head}
    parts = ((others, learning_rate), (head, head_learning_rate or learning_rate))
    groups = [
        {"params": tensors, "weight_decay": decay, "lr": rate}
        for part, rate in parts
        for tensors, decay in _by_decay(part, training)
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=training.betas, eps=training.epsilon, fused=True)


def _by_decay(part: Mapping[str, nn.Parameter], training: TrainingSpec) -> list[tuple[list[nn.Parameter], float]]:
    matrices = [tensor for tensor in part.values() if tensor.dim() >= 2]
    vectors = [tensor for tensor in part.values() if tensor.dim() < 2]
    return [(some, decay) for some, decay in ((matrices, training.weight_decay), (vectors, 0.0)) if some]


def warm_up_optimizer() -> None:
    """Take one step with nothing in it: torch imports seconds of machinery at the first step of a process."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)
    schedule = LambdaLR(optimizer, lambda step: 1.0)
    optimizer.step()
    schedule.step()


def build_schedule(optimizer: torch.optim.Optimizer, training: TrainingSpec, steps: int) -> LambdaLR:
    """Warm up linearly, then hold, fall linearly to zero, or fall along a half cosine to zero."""
    warmup = int(training.warmup) if training.warmup >= 1 else math.ceil(training.warmup * steps)
    return LambdaLR(optimizer, lambda step: share_of_peak(step, steps, warmup, training.schedule))


def share_of_peak(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Return the learning rate of a step (from 0) as a share of its peak."""
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    gone = (step - warmup) / max(1, steps - warmup)
    return max(0.0, 1 - gone) if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, gone)))


class Arithmetic:
    """Precision of the forward pass; for float16 the loss is scaled so that small gradients survive."""

    def __init__(self, precision: str, device: torch.device) -> None:
        if precision == "float16" and device.type != "cuda":
            raise SpecError(
                "training.precision",
                value=precision,
                allowed="float32, bfloat16 on this device",
                remedy="float16 training needs a GPU",
            )
        self.precision = precision
        self.device = device
        self.scaled = precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.scaled)

    def forward(self) -> AbstractContextManager[object]:
        """Run the model's products in the chosen precision; weights and updates stay as they are."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))
