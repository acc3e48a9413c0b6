"""Train and eval modes, changed in one place and put back on every path."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes(active: Sequence[nn.Module], root: nn.Module) -> Generator[None]:
    """Put `root` in eval mode and the `active` modules, whole, in train mode; restore every flag afterwards.

    Frozen parts run in eval mode, always: batch norm would move and dropout would make noise. The flags are
    set one by one, so a module whose `train` does more than that does none of it.
    """
    members = list(root.modules())
    members += [module for top in active for module in top.modules()]
    before = [(module, module.training) for module in dict.fromkeys(members)]
    try:
        for module, _ in before:
            module.training = False
        for top in active:
            for module in top.modules():
                module.training = True
        yield
    finally:
        for module, training in before:
            module.training = training
