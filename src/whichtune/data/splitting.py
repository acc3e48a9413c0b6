"""Cut splits and sizes by seed: by hashing ids, so that neither the order of rows nor any other draw matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from whichtune.data.examples import Example
from whichtune.spec.seeds import derive_seed
from whichtune.spec.sources import SplitSpec


def cut_splits(examples: Sequence[Example], asked: dict[str, float], spec: SplitSpec) -> dict[str, list[Example]]:
    """Cut the asked shares off the examples; the rest is `train`. Rows keep their order."""
    order = draw_order(examples, spec, "cut")
    parts: dict[str, list[Example]] = {}
    start = 0
    for name, share in asked.items():
        count = round(share * len(examples))
        chosen = set(order[start : start + count])
        parts[name] = [replace(one, split=name) for place, one in enumerate(examples) if place in chosen]
        start += count
    rest = set(order[start:])
    return {"train": [replace(one, split="train") for place, one in enumerate(examples) if place in rest]} | parts


def take(examples: Sequence[Example], size: int | None, spec: SplitSpec) -> list[Example]:
    """Take so many rows; a smaller choice is part of every larger one."""
    if size is None or size >= len(examples):
        return list(examples)
    chosen = set(draw_order(examples, spec, "size")[:size])
    return [one for place, one in enumerate(examples) if place in chosen]


def draw_order(examples: Sequence[Example], spec: SplitSpec, purpose: str) -> list[int]:
    """Return the places in drawing order: any stretch of it has each label's share, to within one row.

    Each label's rows are ordered by the hash of their ids and spread evenly over 0..1; all are then sorted together.
    """
    hashes = [derive_seed(spec.seed, "split", purpose, one.id) for one in examples]
    if not spec.stratify:
        return sorted(range(len(examples)), key=hashes.__getitem__)
    by_label: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(examples)), key=hashes.__getitem__):
        by_label[examples[place].gold].append(place)
    keys = {place: (rank + 0.5) / len(own) for own in by_label.values() for rank, place in enumerate(own)}
    return sorted(keys, key=lambda place: (keys[place], hashes[place]))
