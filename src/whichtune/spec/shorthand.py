"""A backbone in one word, as commands take it: `minilm`, a folder, a name on the hub, `random:bert`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from whichtune.errors import ModelError

ALLOWED = "`minilm`, a model folder, a hub name such as `roberta-base`, or `random:bert`"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_backbone_word(word: str) -> dict[str, Any]:
    """Return the backbone entry of a study that a word stands for; `name@revision` pins a hub model."""
    if word == "minilm":
        return {"kind": "minilm"}
    if word == "random" or word.startswith("random:"):
        return {"kind": "random", "family": word.partition(":")[2] or "bert"}
    folder = Path(word).expanduser()
    if word and folder.is_dir():
        return {"kind": "folder", "path": folder.absolute()}
    name, _, revision = word.partition("@")
    if word.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        raise ModelError(f"model {word!r}: neither a folder nor a name", allowed=ALLOWED, remedy="check the path")
    return {"kind": "hub", "name": name, "revision": revision or None}
