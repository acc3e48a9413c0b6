"""Freeze a trunk but for what a method opens, and give it back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from whichtune.methods.contracts import Openings
from whichtune.models.backbone import Backbone
from whichtune.models.pristine import Keepsake


def trunk_parameters(backbone: Backbone, modules: Iterable[str] | None = None) -> dict[str, nn.Parameter]:
    """Return the trunk's parameters by name, or those below the given module paths alone."""
    everything = dict(backbone.trunk.named_parameters())
    if modules is None:
        return everything
    fronts = tuple(f"{path}." for path in modules)
    return {name: tensor for name, tensor in everything.items() if name.startswith(fronts)}


def trunk_buffers(backbone: Backbone, modules: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Return the trunk's saved buffers by full name, or those below the given module paths alone."""
    kept = set(backbone.trunk.state_dict())
    fronts = ("",) if modules is None else tuple(f"{path}." for path in modules)
    own = {name: tensor for name, tensor in backbone.trunk.named_buffers() if name in kept and name.startswith(fronts)}
    return {f"trunk.{name}": tensor for name, tensor in own.items()}


def open_only(backbone: Backbone, head: nn.Module, openings: Openings) -> Callable[[], None]:
    """Let exactly the opened tensors have gradients; return what undoes it, values of the trunk included.

    The trunk's opened tensors are kept in a file, not in memory, since resident memory is measured.
    """
    before = {name: tensor.requires_grad for name, tensor in backbone.trunk.named_parameters()}
    names = [name.removeprefix("trunk.") for name in openings.saved if name.startswith("trunk.")]
    keepsake = Keepsake(backbone.trunk, names)
    for module in (backbone.trunk, head):
        module.requires_grad_(False)
    for tensor in openings.trained.values():
        tensor.requires_grad_(True)

    def restore() -> None:
        keepsake.restore()
        for name, tensor in backbone.trunk.named_parameters():
            tensor.requires_grad_(before[name])
            tensor.grad = None

    return restore
