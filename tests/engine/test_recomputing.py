import pytest
import torch

from whichtune.engine.recomputing import recomputing
from whichtune.measure.modes import modes
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone


def run_steps(family, *, on):
    """Return the gradients of two steps, and every tensor of the trunk after them."""
    trunk = load_backbone(RandomBackbone(kind="random", family=family), LoadRequest(reads="image"))
    gradients = []
    for step in range(2):
        pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        with modes((trunk.trunk,), trunk.trunk), recomputing(trunk.blocks, on=on):
            torch.manual_seed(step)
            trunk.trunk(pixel_values=pixels).last_hidden_state.square().mean().backward()
        gradients += [tensor.grad.clone() for tensor in trunk.trunk.parameters() if tensor.grad is not None]
    return gradients, trunk.trunk.state_dict()


@pytest.mark.parametrize("family", ["resnet", "efficientnet-lite0", "vit"])
def test_blocks_computed_again_leave_gradients_and_running_figures_as_they_were(family):
    (plain, kept), (again, left) = (run_steps(family, on=on) for on in (False, True))
    assert len(plain) == len(again) > 0
    assert all(map(torch.equal, plain, again))
    assert kept.keys() == left.keys()
    assert [name for name, tensor in kept.items() if not torch.equal(tensor, left[name])] == []
