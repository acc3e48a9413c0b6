"""A tree of modules as it was: its structure, its attributes and which tensors stood where."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ModuleState:
    """What a library may change in modules it is let loose on, kept by reference.

    Restoring gives back the same module objects and the same storages. Values that were written in place are not
    undone; they are a `Keepsake`'s business.
    """

    def __init__(self, *roots: nn.Module) -> None:
        modules = {id(module): module for root in roots for module in root.modules()}
        self._attributes = [(module, _list_attributes(module)) for module in modules.values()]
        tensors = {id(tensor): tensor for root in roots for tensor in _list_tensors(root)}
        self._tensors = [(tensor, tensor.data, tensor.requires_grad) for tensor in tensors.values()]

    def restore(self) -> None:
        """Put attributes, members and storages back; it may be called again."""
        for module, attributes in self._attributes:
            for name in set(vars(module)) - set(attributes):
                del vars(module)[name]
            for name, (value, content) in attributes.items():
                _refill(value, content)
                vars(module)[name] = value
        for tensor, storage, requires_grad in self._tensors:
            tensor.data = storage
            tensor.requires_grad_(requires_grad)


def _list_attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Return every attribute, and what it holds where it is a container that may be changed in place."""
    containers = (dict, list, set)
    return {
        name: (value, value.copy() if isinstance(value, containers) else None) for name, value in vars(module).items()
    }


def _list_tensors(root: nn.Module) -> list[Tensor]:
    return [*root.parameters(), *root.buffers()]


def _refill(value: Any, content: Any) -> None:
    """Give a container its old content; the object stays, since hooks hold references to it."""
    if content is None:
        return
    value.clear()
    if isinstance(value, list):
        value.extend(content)
    else:
        value.update(content)
