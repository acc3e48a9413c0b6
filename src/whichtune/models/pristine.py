"""Keep chosen tensors of a module as they are, outside of memory, and put them back bit for bit."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Keepsake:
    """The values of named tensors, in a temporary file: resident memory is measured, and a copy would stand in it."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        self._places = {name: self._find(module, name) for name in names}
        self._path: Path | None = None
        if not self._places:
            return
        folder = Path(tempfile.mkdtemp(prefix="whichtune-"))
        self._path = folder / "kept.safetensors"
        self._forget = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in self._places.items()}, self._path)

    def restore(self) -> None:
        """Put every value back into its tensor, and delete the file."""
        if self._path is None:
            return
        kept = load_file(self._path)
        with torch.no_grad():
            for name, place in self._places.items():
                place.copy_(kept[name])
        self._forget()
        self._path = None

    @staticmethod
    def _find(module: nn.Module, name: str) -> Tensor:
        path, _, last = name.rpartition(".")
        return getattr(module.get_submodule(path), last)
