"""Keeping tensors of a backbone aside, on disk, and putting them back bit for bit."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor, nn

from whichtune.errors import ModelError, did_you_mean


class Keepsake:
    """Named tensors of a module as they were when this was made.

    They lie in a temporary folder, one safetensors file a tensor, since resident memory is measured: at no time does
    more than one of them stand in it twice. The folder goes with `restore`, `close`, or this object. Tensors on the
    `meta` device have no values, and nothing is kept of them.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        from safetensors.torch import save_file

        found = find_tensors(module, names)
        self._tensors = {name: tensor for name, tensor in found.items() if not tensor.is_meta}
        self._folder = Path(mkdtemp(prefix="whichtune-keepsake-"))
        self._delete = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for index, tensor in enumerate(self._tensors.values()):
            save_file({"tensor": tensor.detach().cpu().contiguous()}, self._file(index))

    def restore(self) -> None:
        """Put every tensor back, where it is now, and delete the files; a second call does nothing."""
        from safetensors import safe_open

        if not self._delete.alive:
            return
        with torch.no_grad():
            for index, tensor in enumerate(self._tensors.values()):
                with safe_open(self._file(index), framework="pt") as stored:
                    tensor.copy_(stored.get_tensor("tensor"))
        self.close()

    def close(self) -> None:
        """Delete the files without restoring."""
        self._delete()

    def _file(self, index: int) -> Path:
        return self._folder / f"{index}.safetensors"


def find_tensors(module: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return parameters and buffers by name, or raise a `ModelError` for a name the module does not have."""
    known: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    known.update(module.named_buffers(remove_duplicate=False))
    found: dict[str, Tensor] = {}
    for name in names:
        if name not in known:
            raise ModelError("tensor of the model", value=name, remedy=did_you_mean(name, known))
        found[name] = known[name]
    return found
