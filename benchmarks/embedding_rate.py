"""Embedding against a bare forward loop over the same batches: digits by DINOv2 at 56 pixels, reviews by MiniLM.

    python benchmarks/embedding_rate.py [--rounds 5] [--images 1600] [--texts 4000] [--rows images texts] [--quick]

Ours is `embed_rows` into a new, empty folder: the key, every shard and the joined file included. The bare loop has the
same model object, collates the same rows in the same order, calls the trunk as `transformers` has it (`input_ids` or
`pixel_values`) without gradients, pools, and keeps the rows in memory: no key, no files, no check for numbers that are
none. Encoding (token ids, sized images) is done once, for both. Images are pooled as the family does, texts to the mean
of their rows at length 1.

Exits with 1 when a rate is below 0.90 of the bare loop's, or when the two give other bits.
`--quick` takes few rows and one round, and asks for no rate.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from whichtune.bench.alternate import Comparison, alternate
from whichtune.data.load import load_data
from whichtune.engine.embedding import How, cut_batches, embed_batch, embed_rows
from whichtune.fetch.store import SHARD_ROWS
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Batch
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import DinoV2SmallBackbone, MiniLMBackbone
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import ImageClassificationSpec, TextClassificationSpec
from whichtune.tasks import build_task

OUT = Path("benchmarks/out/embedding_rate.json")
MEANT = 0.90
"""Rate of ours over the bare loop's that is meant."""
QUICK_ROWS = 200
SIDE, LENGTH = 56, 128


class Work:
    """Some rows and the frozen trunk that embeds them."""

    def __init__(self, data, task, backbone, how):
        self.backbone, self.how = backbone, how
        self.encoded = build_task(task, data.labels).encode(data.examples["train"], backbone.reader, LENGTH)
        self.backbone.trunk.eval()
        self.found, self.processor = {}, {"bare loop": [], "whichtune": []}

    def warm_up(self):
        batch = self.encoded.collate(range(self.how.batch_size))
        for _ in range(2):
            embed_batch(self.backbone, batch, self.how)

    def ours(self):
        with tempfile.TemporaryDirectory() as folder:
            return self.watch("whichtune", lambda: embed_rows(self.backbone, self.encoded, self.how, Path(folder)))

    def bare(self):
        return self.watch("bare loop", self.loop)

    def watch(self, side, embed):
        start, processor = time.perf_counter(), time.process_time()
        rows = embed()
        seconds = time.perf_counter() - start
        self.processor[side].append(time.process_time() - processor)
        self.found[side] = np.array(rows)
        return seconds

    @torch.no_grad()
    def loop(self):
        rows = np.empty((len(self.encoded), self.backbone.feature_width(self.how.pooling)), np.float32)
        for start in range(0, len(rows), SHARD_ROWS):
            shard = range(start, min(start + SHARD_ROWS, len(rows)))
            for batch in cut_batches(self.encoded, shard, self.how.batch_size):
                hidden = self.backbone.trunk(**name_inputs(batch)).last_hidden_state
                pooled = self.backbone.pool(hidden, batch.layout, self.how.pooling)
                rows[batch.rows] = functional.normalize(pooled, dim=1) if self.how.normalise else pooled
        return rows


def name_inputs(batch):
    """What the trunk takes, by the names of `transformers`."""
    if isinstance(batch, Batch):
        return {"input_ids": batch.ids, "attention_mask": batch.layout.real.long()}
    return {"pixel_values": batch.pixels}


def take_images(count):
    told = {"source": {"kind": "digits"}, "sizes": {"train": count}, "split": {"validation": 0.05, "test": 0.05}}
    data = load_data(DataSpec.model_validate(told), reads="image")
    backbone = load_backbone(DinoV2SmallBackbone(kind="dinov2-small", image_size=SIDE), LoadRequest(reads="image"))
    how = How(0, "default", normalise=False)
    return Work(data, ImageClassificationSpec(kind="image-classification"), backbone, how)


def take_texts(count):
    told = {"source": {"kind": "movie-reviews"}, "sizes": {"train": count, "validation": 20, "test": 20}}
    backbone = load_backbone(MiniLMBackbone(kind="minilm"), LoadRequest())
    task = TextClassificationSpec(kind="text-classification")
    return Work(load_data(DataSpec.model_validate(told)), task, backbone, How(LENGTH))


TAKE = {"images": take_images, "texts": take_texts}


def measure(kind, count, rounds):
    work = TAKE[kind](count)
    print(
        f"\n{kind}: {len(work.encoded):,} rows, {work.backbone.origin}, batches of {work.how.batch_size}, "
        f"{torch.get_num_threads()} threads, {rounds} rounds"
    )
    work.warm_up()
    comparison = alternate({"bare loop": work.bare, "whichtune": work.ours}, rounds)
    print(comparison)
    same = np.array_equal(work.found["whichtune"], work.found["bare loop"])
    rate, processor = comparison.ratio("bare loop"), Comparison(work.processor).ratio("bare loop")
    told = {"rate": rate, "processor_rate": processor, "same_bits": same, "rows": len(work.encoded)}
    return comparison, told | {"processor_seconds": work.processor}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--rows", nargs="+", choices=TAKE, default=list(TAKE))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows, one round, no rate asked for")
    asked = parser.parse_args()
    if asked.quick:
        asked.images = asked.texts = QUICK_ROWS
        asked.rounds = 1
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found, faults = {"asked": vars(asked)}, 0
    for kind in asked.rows:
        comparison, told = measure(kind, getattr(asked, kind), asked.rounds)
        slow = not asked.quick and told["rate"] < MEANT
        meant = "" if asked.quick else f", meant {MEANT:g}: {'BELOW' if slow else 'reached'}"
        bits = "the same bits" if told["same_bits"] else "OTHER BITS"
        print(
            f"{kind}: rate over the bare loop's {told['rate']:.3f}{meant}; "
            f"by processor time {told['processor_rate']:.3f}; {bits}"
        )
        found[kind] = told | {"seconds": dict(comparison.seconds)}
        faults += slow or not told["same_bits"]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
