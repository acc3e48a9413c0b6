"""The weight files of a model folder: safetensors first, anything pickled only as plain tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whichtune.errors import ModelError

SAFE = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model.pth", "model.pth")


@dataclass(frozen=True)
class WeightFiles:
    """The files that together hold the weights of a folder."""

    files: tuple[Path, ...]
    safe: bool
    """Whether they are safetensors, which cannot hold code."""


def find_weights(folder: Path) -> WeightFiles:
    """Find the weight files of a folder, or raise a `ModelError` that says what is there and what was looked for."""
    for name in (*SAFE, *PICKLED):
        path = folder / name
        if path.is_file():
            files = read_index(path) if name.endswith(".index.json") else (path,)
            return WeightFiles(files, safe=name in SAFE)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
    raise ModelError(
        f"{folder}: no weights; the folder holds {there}",
        allowed=", ".join((*SAFE, *PICKLED)),
        remedy="save the model there with `save_pretrained`, or give another folder",
    )


def read_index(path: Path) -> tuple[Path, ...]:
    """Return the files of an index in order of their names; each must stand in the index's own folder."""
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: not an index of weight files ({error})", remedy="fetch the model again") from None
    for name in names:
        if Path(name).name != name or not (path.parent / name).is_file():
            raise ModelError(f"{path}: names a file that is not in its folder", value=name, remedy="fetch it again")
    return tuple(path.parent / name for name in names)


def read_everything(weights: WeightFiles) -> dict[str, Tensor]:
    """Read all tensors of weight files by name."""
    from safetensors.torch import load_file

    if not weights.safe:
        return read_pickled(weights.files)
    return {name: tensor for path in weights.files for name, tensor in load_file(path).items()}


def read_tensors(weights: WeightFiles, names: tuple[str, ...]) -> Mapping[str, Tensor]:
    """Read a few tensors of a checkpoint by name, and nothing else of it where that is possible."""
    if not weights.safe:
        everything = read_pickled(weights.files)
        return {name: everything[name] for name in names if name in everything}
    found: dict[str, Tensor] = {}
    for path in weights.files:
        found |= _read_safe(path, names)
    return found


def _read_safe(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in set(names) & set(stored.keys())}


def read_pickled(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """Read pickled weight files as tensors by name; anything else in them is refused before it can run."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors.update(_read_pickle(path))
    return tensors


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    remedy = "convert it to safetensors on a machine where you trust it"
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of which mean the same here
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: refused, it holds more than tensors or is broken ({why})", remedy=remedy) from None
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path}: refused, it is not a mapping from names to tensors", remedy=remedy)
    return loaded
