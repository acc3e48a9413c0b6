"""Modes come back exactly, on every path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whichtune.measure.modes import modes


def make() -> tuple[nn.Module, nn.Module]:
    trunk = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2)))
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    return nn.ModuleDict({"trunk": trunk, "head": head}), head


def flags(root: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in root.named_modules()}


def test_frozen_parts_in_eval_active_ones_in_train():
    root, head = make()
    with modes([head], root):
        assert flags(root) == {name: name.startswith("head") for name in flags(root)}


@pytest.mark.parametrize("failure", [None, ValueError, KeyboardInterrupt])
def test_flags_come_back_however_it_ends(failure):
    root, head = make()
    root.train()
    root["trunk"][1].training = False  # a flag that differs from its children's
    head[0].training = False
    before = flags(root)
    if failure is None:
        with modes([head], root):
            assert flags(root) != before
    else:
        with pytest.raises(failure), modes([head], root):
            raise failure
    assert flags(root) == before


def test_active_modules_outside_the_root_are_restored_too():
    root, _ = make()
    lonely = nn.Dropout().eval()
    with modes([lonely], root):
        assert lonely.training
    assert not lonely.training


def test_nested_modes_give_back_the_outer_ones():
    root, head = make()
    with modes([head], root):
        outer = flags(root)
        with modes([], root):
            assert not any(flags(root).values())
        assert flags(root) == outer


def test_frozen_batch_norm_does_not_move():
    root, head = make()
    before = root["trunk"][1][1].running_mean.clone()
    with modes([head], root):
        root["trunk"](torch.randn(4, 2))
    assert torch.equal(root["trunk"][1][1].running_mean, before)
