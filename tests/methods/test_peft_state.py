import torch
from torch import nn

from whichtune.methods.peft_state import ModuleState


def test_everything_but_values_written_in_place_comes_back():
    root = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    first, weight, storage = root[0], root[0].weight, root[0].weight.data_ptr()
    before = weight.detach().clone()
    root.marks = ["a"]
    marks = root.marks
    state = ModuleState(root)
    for _ in range(2):
        root[0] = nn.Sequential(first)
        root.added = nn.Linear(1, 1)
        root.extra = 3
        root.marks.append("b")
        root.training = False
        weight.data = torch.zeros(2, 2)
        weight.requires_grad_(False)
        first.register_forward_hook(lambda *_: None)
        state.restore()
        assert root[0] is first
        assert (first.weight.data_ptr(), first.weight.requires_grad) == (storage, True)
        assert torch.equal(first.weight, before)
        assert root.marks is marks
        assert marks == ["a"]
        assert root.training
        assert not hasattr(root, "added")
        assert not hasattr(root, "extra")
        assert not first._forward_hooks
