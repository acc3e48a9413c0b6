"""A backbone in one word, as commands take it: `minilm`, a folder or file, a name on the hub, `random:bert`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from whichtune.errors import ModelError

ALLOWED = (
    "`minilm`, `smollm2`, a model folder, a GGUF file, a hub name such as `roberta-base`, `gpt:gpt2` or `random:bert`"
)
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_backbone_word(word: str) -> dict[str, Any]:
    """Return the backbone entry of a study that a word stands for; `name@revision` pins a hub model."""
    if word in ("minilm", "smollm2"):
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
    name, _, revision = word.partition("@")
    if word.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        _refuse(word)
    return {"kind": "hub", "name": name, "revision": revision or None}


def _refuse(word: str) -> NoReturn:
    raise ModelError(f"model {word!r}: neither a folder nor a name", allowed=ALLOWED, remedy="check the path")
