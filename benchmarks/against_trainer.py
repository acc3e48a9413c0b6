"""One epoch of each method on 2,000 movie reviews, and the evaluation of 1,000, against Hugging Face Trainer + PEFT
with dynamic padding: MiniLM, both sides in one process, alternating. The peer of a method that PEFT has is PEFT's own;
that of frozen features and last layers is a Trainer whose other parameters have no gradient.

    python benchmarks/against_trainer.py [--rounds 3] [--rows 2000] [--methods lora full ...]

Both sides see the same rows in random batches of 16, cut to 128 tokens, AdamW, linear decay, clipping at 1.0, as many
threads as there are cores. The quality both reach is printed, so that no side wins by training less.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

from whichtune.bench.alternate import alternate
from whichtune.bench.peer_models import adapt, find_source
from whichtune.data.load import load_data
from whichtune.engine.build import build_assembly
from whichtune.engine.encoding import encode_splits
from whichtune.engine.fit import fit
from whichtune.engine.predict import predict
from whichtune.engine.trial import Material, TunerTrial
from whichtune.fetch.cache import cache_root
from whichtune.layers.heads import HeadRequest
from whichtune.measure.clock import PhaseClock
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import MiniLMBackbone
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec, LoraSpec
from whichtune.spec.peft import PeftSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.soft_prompts import PromptTuningSpec, PTuningSpec
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import TextClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.tasks import build_task

METHODS = {
    "lora": LoraSpec(kind="lora", learning_rate=1e-3),
    "full": FullSpec(kind="full"),
    "peft": PeftSpec(kind="peft", tuner="lora", config={"r": 8, "lora_alpha": 16, "lora_dropout": 0.1}),
    "last-layers": LastLayersSpec(kind="last-layers"),
    "frozen-features": FrozenFeaturesSpec(kind="frozen-features"),
    "prompt-tuning": PromptTuningSpec(kind="prompt-tuning", learning_rate=1e-2, head_learning_rate=None),
    "p-tuning": PTuningSpec(kind="p-tuning", learning_rate=1e-3, head_learning_rate=None),
    "p-tuning-lstm": PTuningSpec(kind="p-tuning", encoder="lstm", learning_rate=1e-3, head_learning_rate=None),
}


PEERS = {
    "p-tuning": lambda: peft.PromptEncoderConfig(
        task_type="SEQ_CLS", num_virtual_tokens=20, encoder_hidden_size=384, encoder_reparameterization_type="MLP"
    ),
    "p-tuning-lstm": lambda: peft.PromptEncoderConfig(
        task_type="SEQ_CLS", num_virtual_tokens=20, encoder_hidden_size=384, encoder_reparameterization_type="LSTM"
    ),
}
"""Peers that `whichtune bench` has no row for; the others are made as it makes them."""
TRAINING = TrainingSpec(epochs=1, batch_size=16, max_length=128)


class Rows(torch.utils.data.Dataset):
    """Encoded rows as a Trainer takes them."""

    def __init__(self, encoded):
        self.encoded = encoded

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        return {"input_ids": self.encoded.row(index).tolist(), "label": int(self.encoded.targets[index])}


def pad(rows):
    """Dynamic padding: to the longest row of the batch."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["label"] for row in rows])}


class Bench:
    def __init__(self, rows):
        sizes = {"train": rows, "validation": 100, "test": rows // 2}
        self.data = load_data(DataSpec.model_validate({"source": {"kind": "movie-reviews"}, "sizes": sizes}))
        self.task = build_task(TextClassificationSpec(kind="text-classification"), self.data.labels)
        self.backbone = load_backbone(MiniLMBackbone(kind="minilm"), LoadRequest())
        encoded = encode_splits(self.data, self.task, self.backbone.encoder, TRAINING.max_length, cache_root())
        self.material = Material(self.task, self.data, encoded)
        self.quality, self.kept = {}, {}

    def ours(self, name):
        assembly = build_assembly(self.backbone, METHODS[name], HeadRequest(2), 0.1, Streams(1))
        trial = TunerTrial(assembly, self.material, METHODS[name], TRAINING, PhaseClock(), 64)
        run = trial.prepare()
        run.keeper.every = run.keeper.last = 10**9
        start = time.perf_counter()
        fit([run])
        trained = time.perf_counter() - start
        start = time.perf_counter()
        rows = (self.data.examples["test"], self.material.encoded["test"])
        table, _ = predict(assembly, self.task, "test", rows, 64, run.arithmetic)
        evaluated = time.perf_counter() - start
        self.quality[f"{name} ours"] = np.mean([a == b for a, b in zip(table.gold, table.parsed, strict=True)])
        assembly.attachment.detach()
        self.kept[f"{name} evaluation", "ours"] = evaluated
        return trained

    def trainer(self, name):
        model = self.peer_model(name)
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.make_trainer(model, name, folder)
            start = time.perf_counter()
            trainer.train()
            trained = time.perf_counter() - start
            start = time.perf_counter()
            logits = trainer.predict(Rows(self.material.encoded["test"])).predictions
            self.kept[f"{name} evaluation", "trainer"] = time.perf_counter() - start
        self.quality[f"{name} trainer"] = np.mean(logits.argmax(-1) == self.material.encoded["test"].targets)
        return trained

    def peer_model(self, name):
        transformers.set_seed(1)
        model = find_source(MiniLMBackbone(kind="minilm")).read_classifier(2, torch.device("cpu"))
        if name in PEERS:
            return peft.get_peft_model(model, PEERS[name]())
        return adapt(model, METHODS["lora" if name == "peft" else name], "SEQ_CLS")

    def make_trainer(self, model, name, folder):
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            learning_rate=METHODS[name].learning_rate,
            weight_decay=0.01,
            max_grad_norm=1.0,
            lr_scheduler_type="linear",
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=1,
            dataloader_pin_memory=False,
        )
        return transformers.Trainer(
            model=model, args=arguments, train_dataset=Rows(self.material.encoded["train"]), data_collator=pad
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    bench = Bench(asked.rows)
    print(f"{asked.rows} reviews, {torch.get_num_threads()} threads, {asked.rounds} rounds")
    for name in asked.methods:
        evaluations = {"ours": [], "trainer": []}

        def side(run, label, name=name, evaluations=evaluations):
            def timed():
                seconds = run(name)
                evaluations[label].append(bench.kept[f"{name} evaluation", label])
                return seconds

            return timed

        table = alternate({"ours": side(bench.ours, "ours"), "trainer": side(bench.trainer, "trainer")}, asked.rounds)
        print(f"\n{name}: one epoch\n{table}")
        medians = {label: float(np.median(seconds)) for label, seconds in evaluations.items()}
        print(
            f"{name}: evaluation of {asked.rows // 2}: ours {medians['ours']:.2f} s, "
            f"trainer {medians['trainer']:.2f} s, ratio {medians['ours'] / medians['trainer']:.2f}"
        )
    print("\naccuracy:", ", ".join(f"{label} {share:.3f}" for label, share in bench.quality.items()))


if __name__ == "__main__":
    Path("benchmarks/out").mkdir(parents=True, exist_ok=True)
    main()
