"""Memory of a LoRA step on SmolLM2, summaries of docstrings, against Hugging Face Trainer + PEFT.

    python benchmarks/adapter_memory.py [--length 512] [--batch 4] [--targets all-linear] [--dropouts 0 0.1]

Both sides train the same adapters, filled with the same numbers, on the same padded batch: the longest rows of at most
`--length` tokens, a prompt and its summary each, labels on the summary alone. Ours scores the rows that have a label;
Trainer's `compute_loss` lets the model score all of them. Each side runs in a process of its own.

Compared are the bytes that the forward pass and the loss keep for the backward pass (each storage once, weights left
out), and how far the resident set rises in a step (forward and backward; the optimizer's states are as large on both
sides). Neither depends on what else the machine does. Exits with 1 when ours keeps as much or more, or when, without
dropout, the losses differ by more than 1e-4 or the norms of the gradient by more than 1e-3 of themselves.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

from whichtune.data.load import load_data
from whichtune.engine.build import build_assembly
from whichtune.measure.memory import ResidentMeter, read_rss, saved_bytes
from whichtune.methods.targets import resolve_targets
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import SmolLM2Backbone
from whichtune.spec.methods import LoraSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import SummarizationSpec
from whichtune.tasks import build_task

OUT = Path("benchmarks/out/adapter_memory.json")
RANK, ALPHA = 8, 16
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
UNLABELLED = -100
"""What Trainer's loss skips."""


def load_smollm2():
    return load_backbone(SmolLM2Backbone(kind="smollm2"), LoadRequest(dtype="float32"))


def make_task():
    return build_task(SummarizationSpec(kind="summarization"), ())


def choose_rows(asked):
    """Encode docstrings and keep the longest rows that are not above the length."""
    told = {"source": {"kind": "docstrings"}, "columns": {"label": "summary"}}
    sizes = {"train": asked.rows, "validation": 20, "test": 20}
    examples = load_data(DataSpec.model_validate(told | {"sizes": sizes}), "texts").examples["train"]
    encoded = make_task().encode(examples, load_smollm2().encoder, 2 * asked.length)
    fitting = np.flatnonzero(encoded.lengths <= asked.length)
    chosen = fitting[np.argsort(-encoded.lengths[fitting], kind="stable")[: asked.batch]]
    lengths = encoded.lengths[chosen]
    return Encoded(
        tokens=np.concatenate([encoded.row(row) for row in chosen]),
        offsets=np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]),
        targets=encoded.targets[chosen],
        starts=encoded.starts[chosen],
    )


def fill(tensors):
    """Fill adapters by their module's path and their place in it, so that both sides hold the same numbers."""
    for (path, place), tensor in tensors.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{path} {place}".encode()))
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)


class Ours:
    def __init__(self, encoded, asked):
        self.task, backbone = make_task(), load_smollm2()
        options = {"rank": RANK, "alpha": ALPHA, "dropout": asked.dropout, "targets": tuple(asked.targets)}
        self.assembly = build_assembly(backbone, LoraSpec(kind="lora", **options), self.task.head(), 0.0, Streams(1))
        self.trained = self.assembly.attachment.trained
        named = {tuple(name.removeprefix("added.").rsplit(".", 1)): one for name, one in self.trained.items()}
        fill(named)
        self.batch = collate(encoded, range(len(encoded)))
        self.states = [*backbone.trunk.parameters(), *backbone.trunk.buffers(), *backbone.output.buffers()]

    def loss(self):
        self.assembly.attachment.key.advance()
        with self.assembly.fitting():
            summed, count = self.task.loss(self.assembly(self.batch), self.batch.targets)
        return summed / count


class Theirs:
    """What Trainer does with a batch: its own `compute_loss`, in train mode, with the number of labels as it counts."""

    def __init__(self, encoded, asked):
        backbone = load_smollm2()
        modules = sorted({target.path for target in resolve_targets(backbone, asked.targets)})
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(backbone.trunk.config)
        setattr(model, model.base_model_prefix, backbone.trunk)
        model.tie_weights()
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=asked.dropout,
            target_modules=[f"{model.base_model_prefix}.{path}" for path in modules],
        )
        self.model = peft.get_peft_model(model, config).train()
        self.trained = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        before, places = f"base_model.model.{model.base_model_prefix}.", {"lora_A": "down", "lora_B": "up"}
        fill({split_name(name, before, places): one for name, one in self.trained.items()})
        self.inputs = pad(encoded)
        self.labels = (self.inputs["labels"][:, 1:] != UNLABELLED).sum()
        self.states = [*self.model.parameters(), *self.model.buffers()]
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(output_dir=folder, use_cpu=True, report_to=[])
            self.trainer = transformers.Trainer(model=self.model, args=arguments)

    def loss(self):
        return self.trainer.compute_loss(self.model, dict(self.inputs), num_items_in_batch=self.labels)


def split_name(name, before, places):
    """The module's path in the trunk, and our name for the factor."""
    path, factor, _, _ = name.removeprefix(before).rsplit(".", 3)
    return path, places[factor]


def pad(encoded):
    """Rows padded on the right, as a collator of Trainer gives them."""
    batch = collate(encoded, range(len(encoded)))
    answers = batch.layout.real & (batch.layout.positions >= torch.from_numpy(encoded.starts)[:, None])
    labels = torch.where(answers, batch.ids, UNLABELLED)
    return {"input_ids": batch.ids, "attention_mask": batch.layout.real.long(), "labels": labels}


def measure(asked):
    """Measure one side in this process and print what was found."""
    stored = np.load(asked.stored)
    side = {"whichtune": Ours, "trainer": Theirs}[asked.side](Encoded(**stored), asked)
    with saved_bytes(side.states) as kept:
        loss = side.loss()
    found = {"saved_bytes": kept.reading.value, "loss": float(loss)}
    del loss
    meter, before = ResidentMeter(), read_rss().value
    side.loss().backward()
    peak = meter.read()
    found["resident_bytes"] = None if peak is None else peak - before
    found["why_no_resident_bytes"] = meter.reason
    found["gradient_norm"] = float(torch.stack([one.grad.norm() for one in side.trained.values()]).norm())
    found["trained"] = sum(one.numel() for one in side.trained.values())
    print(json.dumps(found))


def run_apart(asked, stored, dropout, side):
    """Measure one side in a process of its own."""
    options = ["--side", side, "--stored", str(stored), "--dropouts", str(dropout), "--targets", *asked.targets]
    done = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(dropout, ours, theirs):
    """Print one comparison; return what is wrong with it."""
    lines, faults = [], []
    for name, word in (("saved_bytes", "kept for the backward pass"), ("resident_bytes", "rise of the resident set")):
        own, other = ours[name], theirs[name]
        if own is None or other is None:
            lines.append(f"  {word}: not known: {ours['why_no_resident_bytes'] or theirs['why_no_resident_bytes']}")
            continue
        lines.append(f"  {word}: {own / 1e6:,.0f} MB against {other / 1e6:,.0f} MB, ratio {own / other:.3f}")
        if name == "saved_bytes" and own >= other:
            faults.append("ours keeps as much or more")
    print(f"\ndropout {dropout:g}, {ours['trained']:,} trained numbers: whichtune against Trainer + PEFT")
    print("\n".join(lines))
    if ours["trained"] != theirs["trained"]:
        faults.append(f"the two sides do not train the same: {theirs['trained']:,} there")
    if dropout == 0:
        for name, tolerance in (("loss", LOSS_TOLERANCE), ("gradient_norm", GRADIENT_TOLERANCE)):
            apart = abs(ours[name] - theirs[name]) / abs(theirs[name])
            told = name.replace("_", " ")
            print(f"  {told}: {ours[name]:.6f} against {theirs[name]:.6f}, {apart:.1e} apart of {tolerance:g} allowed")
            if not apart <= tolerance:
                faults.append(f"{told}: {apart:.1e} apart")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=512, help="most tokens of a row")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1500, help="docstrings among which the longest are sought")
    parser.add_argument("--targets", nargs="+", default=["all-linear"], help="as `targets` of the method `lora`")
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--side", choices=("whichtune", "trainer"), help=argparse.SUPPRESS)
    parser.add_argument("--stored", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if asked.side is not None:
        asked.dropout = asked.dropouts[0]
        measure(asked)
        return 0
    encoded = choose_rows(asked)
    labels = encoded.lengths - encoded.starts
    print(f"rows of {', '.join(map(str, encoded.lengths))} tokens, labels on {', '.join(map(str, labels))} of them")
    faults, found = [], {}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "rows.npz"
        names = ("tokens", "offsets", "targets", "starts")
        np.savez(stored, **{name: getattr(encoded, name) for name in names})
        for dropout in asked.dropouts:
            sides = {side: run_apart(asked, stored, dropout, side) for side in ("whichtune", "trainer")}
            found[f"dropout {dropout:g}"] = sides
            faults += show(dropout, *sides.values())
    for fault in faults:
        print(f"WRONG: {fault}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    asked.stored = None
    OUT.write_text(json.dumps({"asked": vars(asked), "lengths": encoded.lengths.tolist(), **found}, indent=1) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
