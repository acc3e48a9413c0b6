"""Draw pairs: three premises a hypothesis, one a label, spread evenly over phenomena and splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from whichtune.data.nli.phenomena import FRAMES, PHENOMENA, UNSEEN_FRAMES, Phenomenon, Slots
from whichtune.data.nli.words import TEST, TRAIN, VALIDATION, Words
from whichtune.spec.seeds import derive_seed

GRAMMAR_VERSION = 1
"""Raised when the same seed would give other pairs."""
SPLIT_WORDS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
SHARES = {"validation": 0.1, "test": 0.2}
"""The rest is for training."""
LABELS = ("entailment", "contradiction", "neutral")
_MOST_TRIES = 200


@dataclass(frozen=True)
class Pair:
    """A premise, a hypothesis, and what the one says about the other."""

    premise: str
    hypothesis: str
    label: str
    phenomenon: str


def generate_splits(size: int, seed: int) -> dict[str, list[Pair]]:
    """Return about `size` pairs by split: the nearest number at which labels and phenomena are balanced in each.

    Validation has words of its own in the templates of training; the test has words and templates of its own.
    """
    blocks = {split: max(1, round(share * size / (len(LABELS) * len(PHENOMENA)))) for split, share in SHARES.items()}
    blocks = {"train": max(1, round(size / (len(LABELS) * len(PHENOMENA))) - sum(blocks.values())), **blocks}
    return {split: _generate(split, blocks[split], seed) for split in blocks}


def _generate(split: str, blocks: int, seed: int) -> list[Pair]:
    """Return so many triples of each phenomenon, one of each in turn."""
    columns = [_draw_triples(phenomenon, split, blocks, seed) for phenomenon in PHENOMENA]
    return [pair for row in zip(*columns, strict=True) for triple in row for pair in triple]


def _draw_triples(phenomenon: Phenomenon, split: str, count: int, seed: int) -> list[tuple[Pair, ...]]:
    draw = Random(derive_seed(seed, "nli-grammar", GRAMMAR_VERSION, split, phenomenon.name))  # noqa: S311
    known: set[tuple[str, str]] = set()
    triples: list[tuple[Pair, ...]] = []
    for _ in range(count * _MOST_TRIES):
        if len(triples) == count:
            break
        triple = tuple(_draw_triple(phenomenon, SPLIT_WORDS[split], draw, unseen=split == "test"))
        texts = {(pair.premise, pair.hypothesis) for pair in triple}
        if not texts & known:
            known |= texts
            triples.append(triple)
    assert len(triples) == count, f"{phenomenon.name} has too few words for {count} triples"  # noqa: S101
    return triples


def _draw_triple(phenomenon: Phenomenon, words: Words, draw: Random, *, unseen: bool) -> Iterator[Pair]:
    slots = phenomenon.draw(draw, words)
    recipe = draw.choice(phenomenon.recipes)
    templates = phenomenon.unseen if unseen else phenomenon.seen
    frame = "" if phenomenon.timeless else draw.choice(UNSEEN_FRAMES if unseen else FRAMES)
    hypothesis = _say(frame, draw.choice(templates[recipe.hypothesis]), slots)
    for label, meanings in zip(LABELS, (recipe.entailing, recipe.contradicting, recipe.neutral), strict=True):
        premise = _say(frame, draw.choice(templates[draw.choice(meanings)]), slots)
        yield Pair(premise, hypothesis, label, phenomenon.name)


def _say(frame: str, template: str, slots: Slots) -> str:
    sentence = frame + template.format(**slots)
    return f"{sentence[0].upper()}{sentence[1:]}."
