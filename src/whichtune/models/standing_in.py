"""Reach into a trunk: something else in place of a module's forward for a while, and blocks through all stages."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn


@contextmanager
def standing_in(module: nn.Module, forward: Callable[..., Any]) -> Generator[None]:
    """Let a function stand in for a module's forward inside; the module is given back as it was on every path."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:  # a method had put something in front of the module's own
            module.forward = before


def list_blocks(trunk: nn.Module, pattern: str) -> tuple[str, ...]:
    """List the paths of the blocks in order; `*` in the pattern stands for every entry of the list above it."""
    paths = [""]
    for index, part in enumerate(pattern.split(".*.")):
        stages = paths if index == 0 else [f"{path}.{name}." for path in paths for name in _names(trunk, path)]
        paths = [f"{stage}{part}" for stage in stages]
    return tuple(f"{path}.{name}" for path in paths for name in _names(trunk, path))


def _names(trunk: nn.Module, path: str) -> list[str]:
    """Name the entries of a list of modules in order."""
    return [str(index) for index in range(len(cast(nn.ModuleList, trunk.get_submodule(path))))]
