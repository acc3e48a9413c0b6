"""Cut splits and sizes by seed: by hashing ids, so that neither the order of rows nor any other draw matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from whichtune.data.examples import Example
from whichtune.spec.seeds import derive_seed
from whichtune.spec.sources import SplitSpec


def cut_splits(examples: Sequence[Example], asked: Mapping[str, float], spec: SplitSpec) -> dict[str, list[Example]]:
    """Cut the asked shares off the examples; the rest is `train`. Rows keep their order.

    Training rows come last in the drawing order, so the last row of a label with five or more is always one of them
    while they are at least half of all.
    """
    counts = apportion(len(examples), {**asked, "train": 1 - sum(asked.values())})
    names = iter([name for name, count in counts.items() for _ in range(count)])
    owners = [""] * len(examples)
    for place in draw_order(examples, spec, "cut"):
        owners[place] = next(names)
    parts: dict[str, list[Example]] = {name: [] for name in ("train", *asked)}
    for example, name in zip(examples, owners, strict=True):
        parts[name].append(replace(example, split=name))
    return parts


def cut_images(examples: Sequence[Example], asked: Mapping[str, float], spec: SplitSpec) -> dict[str, list[Example]]:
    """Cut the asked shares of the images off, each with all its rows: no image stands in two splits.

    Images are drawn by their content, so where a file lies does not matter. Labels are not spread evenly: an image
    has rows of several.
    """
    images = {one.image.sha256 for one in examples if one.image is not None}
    order = sorted(images, key=lambda print_: (derive_seed(spec.seed, "split", "cut", print_), print_))
    counts = apportion(len(order), {**asked, "train": 1 - sum(asked.values())})
    names = iter([name for name, count in counts.items() for _ in range(count)])
    owners = dict(zip(order, names, strict=True))
    parts: dict[str, list[Example]] = {name: [] for name in ("train", *asked)}
    for example in examples:
        name = "train" if example.image is None else owners[example.image.sha256]
        parts[name].append(replace(example, split=name))
    return parts


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Share out rows so that the counts add up: whole parts first, the rest by largest remainder."""
    # Shares such as 0.15 + 0.25 leave dust of 1e-16 that must not decide a row.
    exact = {name: round(share * total, 9) for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def take(examples: Sequence[Example], size: int | None, spec: SplitSpec) -> list[Example]:
    """Take so many rows, in their order; a smaller choice is part of every larger one."""
    if size is None or size >= len(examples):
        return list(examples)
    chosen = set(draw_order(examples, spec, "size")[:size])
    return [example for place, example in enumerate(examples) if place in chosen]


def draw_order(examples: Sequence[Example], spec: SplitSpec, purpose: str) -> list[int]:
    """Return the places in drawing order: any beginning of it has each label's share, to within a row or so.

    Each label's rows are ordered by the hash of their ids and spread evenly over 0..1; all are then sorted together.
    Up to any point of 0..1 each label is within half a row of its due, so a beginning of so many rows is within half a
    row and half of the label's share for each of the labels.
    """
    hashes = [derive_seed(spec.seed, "split", purpose, example.id) for example in examples]
    order = sorted(range(len(examples)), key=hashes.__getitem__)
    if not spec.stratify:
        return order
    by_label: dict[str | None, list[int]] = defaultdict(list)
    for place in order:
        by_label[examples[place].gold].append(place)
    keys = {place: (rank + 0.5) / len(own) for own in by_label.values() for rank, place in enumerate(own)}
    return sorted(order, key=keys.__getitem__)
