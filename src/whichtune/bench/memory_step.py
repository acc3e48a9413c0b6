"""One side of the comparison of memory, in a process of its own: `python -m whichtune.bench.memory_step JSON`."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import peft
import torch
import transformers

from whichtune.bench.memory import load_smollm2, make_task
from whichtune.engine.build import build_assembly
from whichtune.measure.memory import ResidentMeter, read_rss, saved_bytes
from whichtune.methods.targets import resolve_targets
from whichtune.models.batch import Encoded, collate
from whichtune.spec.methods import LoraSpec
from whichtune.spec.seeds import Streams

RANK, ALPHA = 8, 16
UNLABELLED = -100
"""What Trainer's loss skips."""


def fill(tensors: Mapping[tuple[str, str], torch.Tensor]) -> None:
    """Fill adapters by their module's path and their place in it, so that both sides hold the same numbers."""
    for (path, place), tensor in tensors.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{path} {place}".encode()))
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)


class Ours:
    """Our step, without the optimizer."""

    def __init__(self, encoded: Encoded, dropout: float, targets: tuple[str, ...]) -> None:
        self.task, backbone = make_task(), load_smollm2()
        method = LoraSpec(kind="lora", rank=RANK, alpha=ALPHA, dropout=dropout, targets=targets)
        self.assembly = build_assembly(backbone, method, self.task.head(), 0.0, Streams(1))
        self.trained: Mapping[str, Any] = self.assembly.attachment.trained
        fill({_split_own(name): one for name, one in self.trained.items()})
        self.batch = collate(encoded, range(len(encoded)))
        assert backbone.output is not None  # noqa: S101 - SmolLM2 has one
        self.states = [*backbone.trunk.parameters(), *backbone.trunk.buffers(), *backbone.output.buffers()]

    def loss(self) -> torch.Tensor:
        """Return the loss of the batch, ready for a backward pass."""
        assert self.assembly.attachment.key is not None  # noqa: S101 - LoRA draws masks
        self.assembly.attachment.key.advance()
        with self.assembly.fitting():
            summed, count = self.task.loss(self.assembly(self.batch), self.batch.targets)
        return summed / count


class Theirs:
    """What Trainer does with a batch: its own `compute_loss`, in train mode, with the number of labels as it counts."""

    def __init__(self, encoded: Encoded, dropout: float, targets: tuple[str, ...]) -> None:
        backbone = load_smollm2()
        modules = sorted({target.path for target in resolve_targets(backbone, targets)})
        trunk: Any = backbone.trunk
        with torch.device("meta"):
            model: Any = transformers.AutoModelForCausalLM.from_config(trunk.config)
        setattr(model, model.base_model_prefix, trunk)
        model.tie_weights()
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=dropout,
            target_modules=[f"{model.base_model_prefix}.{path}" for path in modules],
        )
        self.model: Any = peft.get_peft_model(model, config).train()
        self.trained = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        before = f"base_model.model.{model.base_model_prefix}."
        fill({_split_theirs(name, before): one for name, one in self.trained.items()})
        self.inputs = pad(encoded)
        self.labels = (self.inputs["labels"][:, 1:] != UNLABELLED).sum()
        self.states = [*self.model.parameters(), *self.model.buffers()]
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(output_dir=folder, use_cpu=True, report_to=[])
            self.trainer: Any = transformers.Trainer(model=self.model, args=arguments)

    def loss(self) -> torch.Tensor:
        """Return the loss of the batch, ready for a backward pass."""
        return self.trainer.compute_loss(self.model, dict(self.inputs), num_items_in_batch=self.labels)


def _split_own(name: str) -> tuple[str, str]:
    path, _, place = name.removeprefix("added.").rpartition(".")
    return path, place


def _split_theirs(name: str, before: str) -> tuple[str, str]:
    """Return the module's path in the trunk, and our name for the factor."""
    path, factor, _, _ = name.removeprefix(before).rsplit(".", 3)
    return path, {"lora_A": "down", "lora_B": "up"}[factor]


def pad(encoded: Encoded) -> dict[str, torch.Tensor]:
    """Pad rows on the right, as a collator of Trainer gives them."""
    assert encoded.starts is not None  # noqa: S101 - answers stand behind prompts
    batch = collate(encoded, range(len(encoded)))
    answers = batch.layout.real & (batch.layout.positions >= torch.from_numpy(encoded.starts)[:, None])
    labels = torch.where(answers, batch.ids, UNLABELLED)
    return {"input_ids": batch.ids, "attention_mask": batch.layout.real.long(), "labels": labels}


def measure(side: Ours | Theirs) -> dict[str, Any]:
    """Measure a forward pass, then a whole step."""
    with saved_bytes(side.states) as kept:
        loss = side.loss()
    found: dict[str, Any] = {"saved_bytes": kept.reading.value, "loss": float(loss)}
    del loss
    meter, before = ResidentMeter(), read_rss().value
    side.loss().backward()
    peak = meter.read()
    found["resident_bytes"] = None if peak is None or before is None else peak - before
    found["why_no_resident_bytes"] = meter.reason
    gradients = [one.grad.norm() for one in side.trained.values() if one.grad is not None]
    found["gradient_norm"] = float(torch.stack(gradients).norm())
    found["trained"] = sum(one.numel() for one in side.trained.values())
    return found


def main() -> None:
    """Measure the side that is named and print what was found."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    told = json.loads(sys.argv[1])
    encoded = Encoded(**np.load(told["stored"]))
    side = {"whichtune": Ours, "trainer": Theirs}[told["side"]]
    print(json.dumps(measure(side(encoded, told["dropout"], tuple(told["targets"])))))  # noqa: T201 - read by a parent


if __name__ == "__main__":
    main()
