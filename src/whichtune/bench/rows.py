"""The rows of the table: what each runs, how much of it, and what is meant to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from whichtune.bench.model import Asked, Baseline
from whichtune.bench.studies import (
    study_docstrings,
    study_frozen_features,
    study_gpu_dense,
    study_gpu_short,
    study_last_layer,
    study_lora_epoch,
    study_reviews,
    study_search,
)
from whichtune.errors import InputError, did_you_mean

Kind = Literal["study", "search", "words", "outside", "memory"]
FINE_TUNING = ("reviews", "lora-epoch", "docstrings")
"""Rows in which something is trained through the trunk and nothing is kept between steps."""
QUICK_ROWS = ("reviews", "last-layer", "frozen-features")
QUICK_TEXTS = 400


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    title: str
    kind: Kind
    targets: Mapping[Baseline, float] = field(default_factory=dict)
    """Times as fast as a baseline; for `outside` and `memory` the share that is the most."""
    study: Callable[[int], dict[str, Any]] | None = None
    texts: int = 2000
    share: float = 1.0
    """Share of its trials that the peer runs unless told otherwise."""
    quick_share: float = 1 / 3
    rounds: int = 1
    gpu: bool = False
    letters: tuple[int, int] | None = None
    """Least and most letters of made-up texts, where the row makes its own."""


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row(
            "reviews",
            "MiniLM, movie reviews: 3 seeds x frozen, last layer, LoRA r 4/8/16, prompt tuning, full",
            "study",
            {"tuned": 2.5, "tutorial": 5.0},
            study_reviews,
        ),
        Row(
            "lora-epoch",
            "MiniLM, movie reviews: one epoch of LoRA r 8",
            "study",
            {"tuned": 2.0},
            study_lora_epoch,
            rounds=3,
        ),
        Row(
            "search",
            "MiniLM, movie reviews: 3 seeds x the ladder; search mode (T3) against the whole grid of each method",
            "search",
            {"tuned": 5.0},
            study_search,
            texts=400,
            share=1 / 3,
        ),
        Row(
            "last-layer",
            "MiniLM, movie reviews: last layer, 5 epochs, 3 learning rates x 3 seeds",
            "study",
            {"tuned": 4.0},
            study_last_layer,
        ),
        Row(
            "frozen-features",
            "MiniLM, movie reviews: head on frozen features, 20 epochs, 3 seeds",
            "study",
            {"tuned": 20.0},
            study_frozen_features,
        ),
        Row(
            "docstrings",
            "SmolLM2-135M, summaries of docstrings: LoRA r 4/8/16, one epoch",
            "words",
            {"tuned": 1.8},
            study_docstrings,
            texts=96,
        ),
        Row(
            "gpu-short",
            "One GPU, shape of Llama-3-8B (random weights): LoRA at 8 learning rates, short texts",
            "study",
            {"tuned": 3.0},
            study_gpu_short,
            texts=160,
            share=0.25,
            gpu=True,
            letters=(16, 110),
        ),
        Row(
            "gpu-dense",
            "One GPU, shape of Llama-3-8B (random weights): LoRA, texts of 4,096 tokens",
            "study",
            {"tuned": 1.3},
            study_gpu_dense,
            texts=40,
            gpu=True,
            letters=(4094, 4094),
        ),
        Row(
            "outside",
            "Share of the study's wall time outside forward and backward passes, fine-tuning rows",
            "outside",
            {"tuned": 0.20, "tutorial": 0.20},
        ),
        Row(
            "memory",
            "SmolLM2-135M: bytes kept for the backward pass of a LoRA step, share of PEFT's",
            "memory",
            {"tuned": 0.75, "tutorial": 0.75},
        ),
    )
}


def choose_rows(names: str | None, *, quick: bool) -> tuple[str, ...]:
    """Return the rows that are asked for, in the table's order: all, or those of the quick form, when not said."""
    if names is None:
        return QUICK_ROWS if quick else tuple(ROWS)
    asked = [name.strip().replace("_", "-") for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in ROWS:
            raise InputError("--rows", value=name, allowed=", ".join(ROWS), remedy=did_you_mean(name, ROWS))
    if not asked:
        raise InputError("--rows", value=names, allowed=", ".join(ROWS))
    return tuple(name for name in ROWS if name in asked)


def read_share(told: str | None) -> float | None:
    """Read a share written as `1/3` or `0.33`."""
    if told is None:
        return None
    above, slash, below = told.partition("/")
    try:
        share = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        share = 0.0
    if not 0 < share <= 1:
        raise InputError("--peer-share", value=told, allowed="above 0, at most 1, such as 1/3")
    return share


def count_texts(row: Row, asked: Asked) -> int:
    """Return the training rows of a row's study."""
    return asked.texts or (QUICK_TEXTS if asked.quick else row.texts)


def rounds_of(row: Row, asked: Asked) -> int:
    """Return how often both sides run."""
    return asked.rounds or (1 if asked.quick else row.rounds)


def share_of(row: Row, asked: Asked) -> float:
    """Return the share of its trials that the peer runs."""
    if asked.share is not None:
        return asked.share
    return row.quick_share if asked.quick else row.share
