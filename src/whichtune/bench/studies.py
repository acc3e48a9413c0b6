"""The study of each row: what is run on our side, and from which the peer's trials are read."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whichtune.spec.read import resolve_study
from whichtune.spec.study import StudySpec

Tree = dict[str, Any]
MADE = "made-up-texts.csv"
"""Stands for the file of made-up texts until it is written."""
DENSE = 4096
MAX_LENGTH = 128
BATCH = 16
FEW_TEXTS = 400
"""Below so many training rows the validation rows are a quarter of them; else there are 100."""
LORA_RATE, LAST_RATE, PROMPT_RATE = 1e-3, 1e-3, 1e-2
LLAMA = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
"""Shape of Llama-3-8B (Grattafiori et al. 2024, table 3)."""


def lora(rank: int) -> Tree:
    """Return LoRA on queries and values, as the published comparison has it."""
    return {"kind": "lora", "rank": rank, "alpha": 2.0 * rank, "learning_rate": LORA_RATE}


FROZEN: Tree = {"kind": "frozen-features", "learning_rate": 5e-3}
LAST: Tree = {"kind": "last-layers", "learning_rate": LAST_RATE}
PROMPT: Tree = {
    "kind": "prompt-tuning",
    "learning_rate": PROMPT_RATE,
    "head_learning_rate": None,
    "initialise": "vocabulary",
    "read": "virtual",
}
"""As PEFT has it: rows that start from the token table, a head that reads the first of them."""
RANKS = (4, 8, 16)
LADDER: Mapping[str, Tree] = {
    "frozen": FROZEN,
    "last-layer": LAST,
    **{f"lora-{rank}": lora(rank) for rank in RANKS},
    "prompt-tuning": PROMPT,
    "full": {"kind": "full", "learning_rate": 5e-5},
}


def study_reviews(texts: int) -> Tree:
    """The ladder of methods on movie reviews, three seeds, one epoch; how many processes is measured."""
    tree = lay_reviews("reviews", texts, dict(LADDER), epochs=1)
    return tree | {"execution": tree["execution"] | {"workers": "auto"}}


def study_lora_epoch(texts: int) -> Tree:
    """One epoch of one LoRA training."""
    return lay_reviews("lora-epoch", texts, {"lora": lora(8)}, epochs=1) | {"seeds": [1]}


def study_search(texts: int) -> Tree:
    """The ladder, each method searched with the same number of trials, poor ones ended by successive halving.

    LoRA has one `alpha` at all ranks, so that they may share a search; two methods' searches go on at the same time
    where that is measured to be faster.
    """
    ranks = lora(8) | {"grid": {"rank": list(RANKS)}}
    ladder = {"lora": ranks} | {name: own for name, own in LADDER.items() if own["kind"] != "lora"}
    pruner = {"kind": "successive-halving", "first": 1, "factor": 2}
    search = {"trials": 8, "engine": "optuna", "sampler": "quasi-random", "pruner": pruner, "share": "ranks"}
    tree = lay_reviews("search", texts, ladder, epochs=4)
    return tree | {"search": search, "execution": tree["execution"] | {"workers": "auto"}}


def study_last_layer(texts: int) -> Tree:
    """The last layer at three learning rates, five epochs."""
    rates = {"grid": {"learning_rate": [3e-4, 1e-3, 3e-3]}}
    return lay_reviews("last-layer", texts, {"last-layer": {"kind": "last-layers"} | rates}, epochs=5)


def study_frozen_features(texts: int) -> Tree:
    """A head on frozen features, twenty epochs."""
    return lay_reviews("frozen-features", texts, {"frozen": FROZEN}, epochs=20)


def study_docstrings(texts: int) -> Tree:
    """LoRA of three ranks on summaries of docstrings, one epoch, one seed."""
    tree = lay("docstrings", {f"lora-{rank}": lora(rank) for rank in (4, 8, 16)}, {"epochs": 1, "max_length": 224})
    tree["training"]["batch_size"] = 4
    decoding = {"max_new_tokens": 32}
    sizes = {"train": texts, "validation": max(4, texts // 8), "test": max(4, texts // 4)}
    source = {"source": {"kind": "docstrings"}, "columns": {"label": "summary"}, "sizes": sizes}
    task = {"kind": "summarization", "metric": "rougeL", "decoding": decoding}
    own = {"task": task, "data": source, "backbones": {"model": {"kind": "smollm2"}}, "seeds": [1]}
    tree["execution"]["evaluation_batch"] = 16
    return tree | own


def study_gpu_short(texts: int) -> Tree:
    """LoRA at eight learning rates over the shape of Llama-3-8B with random weights, short made-up texts."""
    rates = {"grid": {"learning_rate": [2e-5, 5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3]}}
    return _lay_llama("gpu-short", texts, lora(8) | rates, {"batch_size": 8, "max_length": MAX_LENGTH})


def study_gpu_dense(texts: int) -> Tree:
    """LoRA over the same, made-up texts that fill 4,096 tokens each."""
    return _lay_llama("gpu-dense", texts, lora(8), {"batch_size": 2, "max_length": DENSE})


def _lay_llama(name: str, texts: int, method: Tree, training: Tree) -> Tree:
    tree = lay(name, {"lora": method}, {"epochs": 1, "precision": "bfloat16", **training})
    tree["execution"]["evaluation_batch"] = 2 * training["batch_size"]
    sizes = {"train": texts, "validation": max(4, texts // 8), "test": max(4, texts // 8)}
    model = {"kind": "random", "family": "llama", "config": dict(LLAMA), "dtype": "bfloat16"}
    data = {"source": {"kind": "files", "all": MADE}, "sizes": sizes}
    return tree | {"data": data, "backbones": {"model": model}, "seeds": [1]}


def write_made_texts(path: Path, rows: int, letters: tuple[int, int]) -> Path:
    """Write made-up texts of so many letters, least and most, in two classes told apart by a word."""
    draw = random.Random(0)  # noqa: S311 - made-up texts
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for row in range(rows):
            gold = ("bad", "good")[row % 2]
            count = draw.randint(*letters)
            text = f"{gold} {row} " + "".join(draw.choices("etaoin shrdlu", k=count))
            writer.writerow([text[:count], gold])
    return path


def lay_reviews(name: str, texts: int, methods: Tree, *, epochs: float) -> Tree:
    """Return a study of movie reviews with MiniLM."""
    tree = lay(name, methods, {"epochs": epochs, "max_length": MAX_LENGTH})
    validation = 100 if texts >= FEW_TEXTS else max(2, texts // 4)
    sizes = {"train": texts, "validation": validation, "test": max(2, texts // 2)}
    return tree | {
        "data": {"source": {"kind": "movie-reviews"}, "sizes": sizes},
        "backbones": {"model": {"kind": "minilm"}},
    }


def lay(name: str, methods: Tree, training: Tree) -> Tree:
    """Return what all rows share: nothing is measured that the peer does not do too."""
    return {
        "name": name,
        "methods": methods,
        "training": {"batch_size": BATCH, **training},
        "seeds": [1, 2, 3],
        "contender_seeds": 0,
        "execution": {"check": False},
        "measure": {"probe": False},
    }


def build_study(tree: Tree, threads: int | None, settings: Sequence[str]) -> StudySpec:
    """Read a row's study, with the threads asked for and overrides as `--set` takes them."""
    execution = tree["execution"] | ({} if threads is None else {"threads": threads})
    return resolve_study(tree | {"execution": execution}, overrides=settings)
