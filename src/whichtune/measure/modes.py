"""Train and eval modes, changed in one place and put back on every path."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from torch import nn


def wanted_modes(active: Sequence[nn.Module], root: nn.Module) -> tuple[tuple[nn.Module, bool], ...]:
    """Say of every module whether it is to be in train mode: the `active` ones, whole; a walk worth keeping."""
    wanted = dict.fromkeys(root.modules(), False)
    wanted.update(dict.fromkeys((module for top in active for module in top.modules()), True))
    return tuple(wanted.items())


@contextmanager
def modes(active: Sequence[nn.Module], root: nn.Module) -> Generator[None]:
    """Put `root` in eval mode and the `active` modules, whole, in train mode; restore every flag afterwards.

    Frozen parts run in eval mode, always: batch norm would move and dropout would make noise. The flags are
    set one by one, so a module whose `train` does more than that does none of it.
    """
    with holding_modes(wanted_modes(active, root)):
        yield


@contextmanager
def holding_modes(wanted: Sequence[tuple[nn.Module, bool]]) -> Generator[None]:
    """Set the modes of modules as wanted, where they differ, and put those back on every path."""
    changed = [(module, module.training) for module, on in wanted if module.training is not on]
    try:
        for module, training in changed:
            module.training = not training
        yield
    finally:
        for module, training in changed:
            module.training = training
