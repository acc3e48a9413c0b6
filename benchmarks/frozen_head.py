"""Twenty epochs of a head over a frozen trunk, against Hugging Face Trainer that runs the trunk in every epoch.

    python benchmarks/frozen_head.py [--rounds 1] [--texts 1000] [--images 1000] [--rows texts images]
                                     [--trainer-epochs 20] [--quick]

texts    movie reviews, cut to 128 tokens, MiniLM, its pooler's row
images   handwritten digits at 56 pixels, DINOv2 ViT-S, its class row

Ours embeds the rows once, in a new and empty folder, and trains the head on what is kept: the embedding is in its time.
Trainer is given the same trunk in eval mode and without gradients, a head of the same form that starts from the same
weights, the same rows in random batches of 16 by the same `collate` (texts padded to the longest of the batch),
AdamW, linear decay, clipping at 1.0 and the same learning rate. Both score the validation rows after every epoch.
Encoding (token ids, sized images) is done once, for both. The test rows are predicted outside of the time.

`--trainer-epochs 7` lets Trainer train 7 epochs, its schedule fitted to them, and multiplies its seconds by 20/7; the
table then says so. Exits with 1 when ours is not 20 times as fast, or when Trainer's accuracy lies outside of the 95 %
interval of ours. `--quick` takes few rows and 7 epochs of Trainer, and asks for no speed.
"""

import argparse
import copy
import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

from whichtune.bench.alternate import Comparison, alternate
from whichtune.data.load import load_data
from whichtune.engine.build import build_assembly
from whichtune.engine.encoding import encode_splits
from whichtune.engine.features import trains_head_alone, with_features
from whichtune.engine.fit import fit
from whichtune.engine.predict import predict
from whichtune.engine.trial import Material, TunerTrial
from whichtune.fetch.cache import cache_root
from whichtune.measure.clock import PhaseClock
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Batch
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import DinoV2SmallBackbone, MiniLMBackbone
from whichtune.spec.methods import FrozenFeaturesSpec
from whichtune.spec.seeds import Streams
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import ImageClassificationSpec, TextClassificationSpec
from whichtune.spec.training import TrainingSpec
from whichtune.stats.intervals import estimate_single, sample_candidate
from whichtune.tasks import build_task

OUT = Path("benchmarks/out/frozen_head.json")
MEANT = 20.0
"""How many times as fast as Trainer is meant."""
QUICK_ROWS, QUICK_EPOCHS = 300, 7
VALIDATED, TESTED = 50, 400
EVALUATION_BATCH, SIDE = 64, 56
METHOD = FrozenFeaturesSpec(kind="frozen-features")
TRAINING = TrainingSpec(epochs=20, batch_size=16, max_length=128)
SEED = 1


def take_texts(count):
    data = load_rows("movie-reviews", count, "text")
    task = build_task(TextClassificationSpec(kind="text-classification"), data.labels)
    return data, task, load_backbone(MiniLMBackbone(kind="minilm"), LoadRequest())


def take_images(count):
    data = load_rows("digits", count, "image")
    task = build_task(ImageClassificationSpec(kind="image-classification"), data.labels)
    spec = DinoV2SmallBackbone(kind="dinov2-small", image_size=SIDE)
    return data, task, load_backbone(spec, LoadRequest(reads="image"))


def load_rows(kind, count, reads):
    sizes = {"train": count, "validation": VALIDATED, "test": TESTED}
    told = {"source": {"kind": kind}, "sizes": sizes, "split": {"validation": 0.05, "test": 0.25}}
    return load_data(DataSpec.model_validate(told), reads=reads)


TAKE = {"texts": take_texts, "images": take_images}


class Sides:
    """Both sides over the same rows and the same trunk."""

    def __init__(self, kind, count, trainer_epochs):
        self.data, self.task, self.backbone = TAKE[kind](count)
        self.trainer_epochs = trainer_epochs
        encoded = encode_splits(self.data, self.task, self.backbone.reader, TRAINING.max_length, cache_root())
        self.test = (self.data.examples["test"], encoded.pop("test"))
        self.material = Material(self.task, self.data, encoded)
        self.right, self.processor = {}, {"trainer": [], "whichtune": []}
        batch = encoded["train"].collate(range(TRAINING.batch_size))
        for _ in range(2):
            self.backbone.run(self.backbone.embed(batch), batch.layout)

    def assemble(self):
        assembly = build_assembly(self.backbone, METHOD, self.task.head(), TRAINING.head_dropout, Streams(SEED))
        if not trains_head_alone(assembly):
            sys.exit("the trunk would run in every epoch on our side too")
        return assembly

    def ours(self):
        assembly = self.assemble()
        with tempfile.TemporaryDirectory() as folder:
            watch = time.perf_counter(), time.process_time()
            how = (EVALUATION_BATCH, TRAINING.precision, Path(folder))
            material = with_features(assembly, self.material, *how)
            trial = TunerTrial(assembly, material, METHOD, TRAINING, PhaseClock(), EVALUATION_BATCH)
            run = trial.prepare()
            fit([run])
            seconds = self.read(watch, "whichtune", 1)
        if run.failure is not None:
            raise run.failure
        table, _ = predict(assembly, self.task, "test", self.test, EVALUATION_BATCH, run.arithmetic)
        self.right["whichtune"] = np.array([own == gold for own, gold in zip(table.parsed, table.gold, strict=True)])
        assembly.attachment.detach()
        return seconds

    def trainer(self):
        assembly = self.assemble()
        model = FrozenTrunk(self.backbone.trunk, copy.deepcopy(assembly.head))
        assembly.attachment.detach()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.make_trainer(model, folder)
            watch = time.perf_counter(), time.process_time()
            trainer.train()
            seconds = self.read(watch, "trainer", TRAINING.epochs / self.trainer_epochs)
            encoded = self.test[1]
            trainer.data_collator = Collator(encoded)
            logits = trainer.predict(Places(encoded)).predictions
        self.right["trainer"] = logits.argmax(-1) == encoded.targets
        return seconds

    def read(self, watch, side, factor):
        wall, processor = watch
        seconds = (time.perf_counter() - wall) * factor
        self.processor[side].append((time.process_time() - processor) * factor)
        return seconds

    def make_trainer(self, model, folder):
        encoded = self.material.encoded
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=self.trainer_epochs,
            per_device_train_batch_size=TRAINING.batch_size,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=METHOD.learning_rate,
            weight_decay=TRAINING.weight_decay,
            max_grad_norm=TRAINING.clip_norm,
            lr_scheduler_type="linear",
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="epoch",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=SEED,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        validated = Places(encoded["validation"], len(encoded["train"]))
        both = Collator(encoded["train"], encoded["validation"])
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=Places(encoded["train"]),
            eval_dataset=validated,
            data_collator=both,
            compute_metrics=lambda told: {"accuracy": float(np.mean(told.predictions.argmax(-1) == told.label_ids))},
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer


class FrozenTrunk(torch.nn.Module):
    """A trunk that stays in eval mode, and a head that is trained."""

    def __init__(self, trunk, head):
        super().__init__()
        self.trunk, self.head = trunk.requires_grad_(False), head.requires_grad_(True)
        self.trunk.eval()

    def train(self, mode=True):
        self.training = mode
        self.head.train(mode)
        return self

    def forward(self, labels, input_ids=None, attention_mask=None, pixel_values=None):
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "pixel_values": pixel_values}
        with torch.no_grad():
            pooled = self.trunk(**{name: one for name, one in given.items() if one is not None}).pooler_output
        logits = self.head(pooled)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Places(torch.utils.data.Dataset):
    """The places of encoded rows: a batch is read by `Collator`, all rows at once."""

    def __init__(self, encoded, first=0):
        self.encoded, self.first = encoded, first

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        return self.first + index


class Collator:
    """Batches as Trainer takes them; places behind the first rows mean the second ones."""

    def __init__(self, first, second=None):
        self.first, self.second = first, second

    def __call__(self, places):
        rows, encoded = np.array(places), self.first
        if rows[0] >= len(self.first):
            rows, encoded = rows - len(self.first), self.second
        batch = encoded.collate(rows)
        if isinstance(batch, Batch):
            inputs = {"input_ids": batch.ids, "attention_mask": batch.layout.real.long()}
        else:
            inputs = {"pixel_values": batch.pixels}
        return inputs | {"labels": batch.targets}


def judge(right):
    """Accuracy of both sides, the interval of ours, and whether Trainer's lies in it."""
    own, other = right["whichtune"], right["trainer"]
    ids = [str(place) for place in range(len(own))]
    low, high = estimate_single(sample_candidate("whichtune", ids, [own.mean()], own[None], binary=True)).interval()
    return {
        "accuracy": float(own.mean()),
        "interval": [low, high],
        "trainer_accuracy": float(other.mean()),
        "items": len(own),
        "same": bool(low <= other.mean() <= high),
    }


def measure(kind, count, asked):
    """Measure one row of the comparison."""
    sides = Sides(kind, count, asked.trainer_epochs)
    print(
        f"\n{kind}: {count:,} rows, {sides.backbone.origin.split(' (')[0]}, {TRAINING.epochs:g} epochs, "
        f"{torch.get_num_threads()} threads, {asked.rounds} rounds"
    )
    comparison = alternate({"trainer": sides.trainer, "whichtune": sides.ours}, asked.rounds)
    print(comparison)
    if asked.trainer_epochs != TRAINING.epochs:
        print(
            f"trainer: ran {asked.trainer_epochs} of {TRAINING.epochs:g} epochs; its seconds are multiplied by "
            f"{TRAINING.epochs:g}/{asked.trainer_epochs}, its accuracy is that after {asked.trainer_epochs}"
        )
    found = judge(sides.right) | {"ratio": comparison.ratio("trainer")}
    found["processor_ratio"] = Comparison(sides.processor).ratio("trainer")
    slow = not asked.quick and found["ratio"] < MEANT
    meant = "" if asked.quick else f", meant {MEANT:g}: {'BELOW' if slow else 'reached'}"
    print(
        f"{kind}: {found['ratio']:.1f} times as fast as Trainer{meant}; by processor time "
        f"{found['processor_ratio']:.1f}\n{kind}: accuracy {found['accuracy']:.3f} "
        f"({found['interval'][0]:.3f} to {found['interval'][1]:.3f}), Trainer's {found['trainer_accuracy']:.3f}: "
        f"{'inside' if found['same'] else 'OUTSIDE'}"
    )
    more = {"seconds": dict(comparison.seconds), "processor_seconds": sides.processor}
    return found | more, slow or not found["same"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rows", nargs="+", choices=TAKE, default=list(TAKE))
    parser.add_argument("--trainer-epochs", type=int, default=int(TRAINING.epochs))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows, {QUICK_EPOCHS} epochs of Trainer")
    asked = parser.parse_args()
    if asked.quick:
        asked.texts = asked.images = QUICK_ROWS
        asked.trainer_epochs, asked.rounds = QUICK_EPOCHS, 1
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    measured = {kind: measure(kind, getattr(asked, kind), asked) for kind in asked.rows}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    found = {kind: figures for kind, (figures, _) in measured.items()}
    OUT.write_text(json.dumps({"asked": vars(asked), **found}, indent=1) + "\n")
    return 1 if any(fault for _, fault in measured.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
