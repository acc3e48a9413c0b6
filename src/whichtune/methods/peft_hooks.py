"""What some tuners of PEFT do at every step: AdaLoRA moves its ranks and keeps its factors orthogonal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from whichtune.errors import InputError
from whichtune.spec.peft import PeftSpec


@dataclass(frozen=True)
class Hooks:
    """Hooks of an attachment; None where the tuner has none."""

    plan: Callable[[int], None] | None = None
    penalty: Callable[[], Tensor] | None = None
    after_step: Callable[[int], None] | None = None


def make_hooks(tuner: Any, spec: PeftSpec) -> Hooks:
    """Return the hooks of a tuner."""
    step = getattr(tuner, "update_and_allocate", None)
    if spec.tuner != "adalora":
        return Hooks(after_step=step)
    config = tuner.peft_config[tuner.trainable_adapter_name]
    penalty = partial(weigh_factors, tuner, config.orth_reg_weight) if config.orth_reg_weight else None
    return Hooks(plan=partial(plan_budget, config), penalty=penalty, after_step=step)


def plan_budget(config: Any, steps: int) -> None:
    """Tell AdaLoRA the number of steps its budget falls over."""
    if config.tinit >= steps - config.tfinal:
        raise InputError(
            f"config.tinit and config.tfinal of adalora: {config.tinit} and {config.tfinal} of {steps} steps",
            allowed="together less than the steps of the trial",
            remedy="lower them, or train longer",
        )
    config.total_step = steps


def weigh_factors(tuner: Any, weight: float) -> Tensor:
    """Return how far AdaLoRA's factors are from orthogonal (Zhang et al. 2023, equation 4), averaged and weighed.

    PEFT adds it where the model returns a loss, which a trunk does not.
    """
    parts = [
        _distance(tensor.T if "lora_B" in name else tensor)
        for name, tensor in tuner.model.named_parameters()
        if "lora_A" in name or "lora_B" in name
    ]
    return weight * torch.stack(parts).mean()


def _distance(rows: Tensor) -> Tensor:
    """Return the Frobenius norm of rows times rows transposed, less the identity."""
    products = rows @ rows.T
    return torch.linalg.matrix_norm(products - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))
