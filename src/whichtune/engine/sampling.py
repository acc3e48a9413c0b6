"""Orders of an epoch that look at the classes: `stratified` and `balanced`.

Both come from the order stream, the epoch and the targets alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichtune.spec.seeds import Streams


def stratify(targets: np.ndarray, size: int, streams: Streams, epoch: int) -> np.ndarray:
    """Return every row once, each batch with the classes' shares: their expected number rounded down or up."""
    generator = np.random.default_rng(streams.derive("order", epoch))
    rows = [generator.permutation(np.flatnonzero(targets == label)) for label in np.unique(targets)]
    return _deal(rows, size, generator)


def balance(targets: np.ndarray, size: int, streams: Streams, epoch: int) -> np.ndarray:
    """Return as many rows as there are, drawn from all classes alike.

    Each class is gone through from end to end before a row of it comes again, over epochs too, in a new order each
    time: rare classes come round several times an epoch, frequent ones take several epochs.
    """
    labels = np.unique(targets[targets >= 0])
    generator = np.random.default_rng(streams.derive("order", epoch))
    base, spare = divmod(len(targets), len(labels))
    drawn: list[np.ndarray] = []
    for place, label in enumerate(labels):
        before, after = (-(-(turn * spare - place) // len(labels)) for turn in (epoch, epoch + 1))
        slots = np.arange(epoch * base + before, (epoch + 1) * base + after)
        drawn.append(_cycle(np.flatnonzero(targets == label), slots, streams, int(label)))
    return _deal(drawn, size, generator)


def _cycle(rows: np.ndarray, slots: np.ndarray, streams: Streams, label: int) -> np.ndarray:
    """Read a stretch of the endless sequence of one class's rows: a permutation a round."""
    rounds = slots // len(rows)
    parts = [np.empty(0, dtype=rows.dtype)]
    for turn in np.unique(rounds):
        order = np.random.default_rng(streams.derive("order", "class", label, int(turn))).permutation(rows)
        parts.append(order[slots[rounds == turn] % len(rows)])
    return np.concatenate(parts)


def _deal(rows: Sequence[np.ndarray], size: int, generator: np.random.Generator) -> np.ndarray:
    """Deal the rows of each class to batches of `size`; the short last batch gets its share first.

    Full batches get every class's whole shares, and what is left over goes round, one row of a class a batch: each
    batch then holds a class's exact share rounded down or up.
    """
    total = sum(map(len, rows))
    full, short = divmod(total, size)
    last = _round_shares(np.array([len(own) for own in rows]) * short / total, short, generator)
    ends = [own[len(own) - count :] for own, count in zip(rows, last, strict=True)]
    batches: list[list[np.ndarray]] = [[] for _ in range(full)]
    spare: list[np.ndarray] = []
    for own, count in zip(rows, last, strict=True):
        kept = own[: len(own) - count]
        each = len(kept) // full if full else 0
        for place, batch in enumerate(batches):
            batch.append(kept[place * each : (place + 1) * each])
        spare.append(kept[full * each :])
    for place, row in enumerate(np.concatenate(spare) if full else ()):
        batches[place % full].append(np.array([row]))
    dealt = [generator.permutation(np.concatenate(batches[place])) for place in generator.permutation(full)]
    return np.concatenate([*dealt, generator.permutation(np.concatenate(ends))]).astype(np.int64)


def _round_shares(shares: np.ndarray, total: int, generator: np.random.Generator) -> np.ndarray:
    """Round shares to whole numbers that add up to `total`, the largest fractions up; ties by lot."""
    counts = np.floor(shares).astype(np.int64)
    left = total - int(counts.sum())
    order = np.lexsort((generator.random(len(shares)), -(shares - counts)))
    counts[order[:left]] += 1
    return counts
