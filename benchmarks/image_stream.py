"""Memory in which ten thousand images pass through: read, sized, cut into batches, embedded.

    python benchmarks/image_stream.py [--images 10000] [--batch 32] [--trunk random-vit] [--quick]

JPEG files of 256 x 224 pixels are drawn into class folders once. Then, in one process and with an empty cache:

    reading     `load_data` of the folder: every file is decoded and hashed, rows are cut into splits
    sizing      the encoder makes 3 x 224 x 224 bytes of each image and keeps them on disk
    batches     every batch is collated once, float32
    embedding   every row is embedded by the frozen trunk and kept on disk

A thread looks every 20 ms at how much anonymous memory is resident (`RssAnon` of /proc/self/status) and at the resident
pages of files (`RssFile`), which the kernel takes back when others need memory. Before a phase, memory that was freed
is handed back to the kernel, so that nothing hides in it. Figures are rises above the level before all phases, in
batches of float32 pixels: what earlier phases keep counts in every later one. What the trunk itself needs for one batch
is measured apart, by running it on one batch alone; an embedding may rise that far and as many batches as the others.

Exits with 1 when a phase rises more than 4 batches. Two of them are what turns bytes to numbers (what is read and what
is made of it), one more the shard of 64 images while it is sized (bytes, twice: one by one and together), and one the
rows of ten thousand examples, the libraries' first use and what an allocator keeps. All ten thousand would be 312.
The trunk is a small random ViT: what passes through it is the same whatever it is, and it is quick. With `--trunk
efficientnet-lite0` a real one embeds, which takes many times as long. `--quick` takes 1,000 images.
"""

import argparse
import ctypes
import json
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from whichtune.data.load import load_data
from whichtune.engine.embedding import How, embed_rows
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import EfficientNetLite0Backbone, RandomBackbone
from whichtune.spec.sources import DataSpec
from whichtune.spec.tasks import ImageClassificationSpec
from whichtune.tasks import build_task

OUT = Path("benchmarks/out/image_stream.json")
MEANT = 4.0
"""Batches that a phase may rise."""
QUICK_IMAGES = 1000
SIDE, SIZE = 224, (256, 224)
"""Side of what the model is given; width and height of the files."""
CLASSES = 10
STATUS = Path("/proc/self/status")
SECONDS = 0.02
"""Between two looks at the memory."""


def draw_images(folder, count):
    """Draw coarse noise, a file an image, no two alike."""
    draw = np.random.default_rng(0)
    for place in range(count):
        path = folder / f"class-{place % CLASSES}" / f"{place:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = draw.integers(0, 256, (7, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(SIZE, Image.Resampling.BILINEAR).save(path, quality=85)


def read_memory():
    """Return the anonymous and the file bytes that are resident now."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))


def hand_back():
    """Give freed memory back to the kernel, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Peaks:
    """The greatest anonymous and file bytes that were seen of each phase, and its seconds."""

    def __init__(self):
        hand_back()
        self.before = read_memory()
        self.found = {}

    @contextmanager
    def phase(self, name):
        hand_back()
        seen, over = [read_memory()], threading.Event()

        def look():
            while not over.wait(SECONDS):
                seen.append(read_memory())

        watch = threading.Thread(target=look, daemon=True)
        watch.start()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        over.set()
        watch.join()
        hand_back()
        anonymous, of_files = (
            max(one) - level for one, level in zip(zip(*seen, strict=True), self.before, strict=True)
        )
        self.found[name] = {
            "seconds": seconds,
            "looks": len(seen),
            "rise_bytes": anonymous,
            "kept_bytes": read_memory()[0] - self.before[0],
            "file_bytes": of_files,
        }


TRUNKS = {
    "random-vit": RandomBackbone(
        kind="random",
        family="vit",
        config={"patch_size": 32, "hidden_size": 256, "intermediate_size": 512},
        image_size=SIDE,
    ),
    "efficientnet-lite0": EfficientNetLite0Backbone(kind="efficientnet-lite0", image_size=SIDE),
}


def pass_through(folder, backbone, size):
    """Pass all images through every phase; return what was seen and a check of the last rows."""
    spec = DataSpec.model_validate({"source": {"kind": "image-folder", "all": str(folder)}})
    how = How(0, "default", normalise=False, batch_size=size)
    peaks = Peaks()
    with peaks.phase("reading"):
        data = load_data(spec, reads="image")
    task = build_task(ImageClassificationSpec(kind="image-classification"), data.labels)
    with peaks.phase("sizing"):
        encoded = {split: task.encode(rows, backbone.reader, 0) for split, rows in data.examples.items()}
    with peaks.phase("batches"):
        for rows in encoded.values():
            for start in range(0, len(rows), size):
                rows.collate(range(start, min(start + size, len(rows))))
    with peaks.phase("one batch alone"), torch.no_grad():
        one = encoded["train"].collate(range(size))
        for _ in range(3):
            backbone.run(backbone.embed(one), one.layout)
    del one
    with peaks.phase("embedding"):
        kept = [embed_rows(backbone, rows, how, folder.parent / "cache") for rows in encoded.values()]
    return peaks.found, sum(map(len, kept))


def show(found, batch_bytes):
    """Print the phases; return those that rise more than is meant."""
    alone = found["one batch alone"]["rise_bytes"]
    over = []
    print(f"\n{'':16} {'seconds':>8} {'rise MB':>8} {'batches':>8} {'kept':>6} {'files MB':>9}")
    for name, one in found.items():
        own = one["rise_bytes"] - (alone if name == "embedding" else 0)
        one["batches"] = own / batch_bytes
        print(
            f"{name:16} {one['seconds']:8.1f} {one['rise_bytes'] / 1e6:8.1f} {one['batches']:8.2f} "
            f"{one['kept_bytes'] / batch_bytes:6.2f} {one['file_bytes'] / 1e6:9.1f}"
        )
        if name != "one batch alone" and one["batches"] > MEANT:
            over.append(name)
    print("batches: of float32 pixels; those of `embedding` are above what the trunk needs for one batch alone")
    return over


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--trunk", choices=TRUNKS, default="random-vit")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_IMAGES} images")
    asked = parser.parse_args()
    if asked.quick:
        asked.images = QUICK_IMAGES
    if not STATUS.is_file():
        sys.exit("resident memory is read from Linux's /proc, which is not here")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    backbone = load_backbone(TRUNKS[asked.trunk], LoadRequest(reads="image"))
    backbone.trunk.eval()
    batch_bytes = asked.batch * 3 * SIDE * SIDE * 4
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        draw_images(folder, asked.images)
        os.environ["WHICHTUNE_CACHE"] = str(folder.parent / "cache")
        print(
            f"{asked.images:,} images, {backbone.origin}, batches of {asked.batch} x 3 x {SIDE} x {SIDE} float32 "
            f"({batch_bytes / 1e6:.1f} MB), {torch.get_num_threads()} threads"
        )
        found, rows = pass_through(folder, backbone, asked.batch)
    over = show(found, batch_bytes)
    lost = asked.images - rows
    print(f"rises of at most {MEANT:g} batches are meant: {'ABOVE: ' + ', '.join(over) if over else 'kept'}")
    if lost:
        print(f"WRONG: {lost} images were not embedded")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    told = {"asked": vars(asked), "batch_bytes": batch_bytes, "phases": found, "rows": rows}
    OUT.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if over or lost else 0


if __name__ == "__main__":
    sys.exit(main())
