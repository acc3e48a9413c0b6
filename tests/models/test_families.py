"""Each family of the table against a tiny model of it: every number and every path."""

import pytest
import torch

from whichtune.models.anatomy import WORDS
from whichtune.models.count import count_elements, count_parameters
from whichtune.models.families import FAMILIES


@pytest.fixture(params=sorted(FAMILIES))
def backbone(request, tiny_backbone):
    return tiny_backbone(request.param, num_hidden_layers=3, intermediate_size=48)


def biases(module):
    return sum(tensor.numel() for name, tensor in module.named_parameters() if name.endswith("bias"))


def test_theory_equals_the_count_of_the_tensors(backbone):
    sizes, anatomy = backbone.dimensions, backbone.anatomy
    assert sizes.trunk.parameters == count_parameters(backbone.trunk)
    assert sizes.trunk.biases == biases(backbone.trunk)
    assert sizes.trunk.inert == count_elements(backbone.trunk.get_parameter(name) for name in backbone.inert)
    assert sizes.blocks == len(backbone.blocks) == 3
    assert sizes.hidden == backbone.hidden
    for block in backbone.blocks:
        assert (sizes.block.parameters, sizes.block.biases) == (count_parameters(block), biases(block))
    before = [backbone.module(path) for path in anatomy.embeddings]
    assert sizes.embeddings.parameters == sum(map(count_parameters, before))
    assert sizes.embeddings.biases == sum(map(biases, before))
    assert (anatomy.pooler is None) == (sizes.pooler.parameters == 0)
    if anatomy.pooler is not None:
        assert sizes.pooler.parameters == count_parameters(backbone.module(anatomy.pooler))


def test_each_projection_is_where_and_as_large_as_stated(backbone):
    assert tuple(backbone.anatomy.projections) == WORDS
    for word in WORDS:
        path, module, projection = backbone.projection(2, word)
        extent = backbone.dimensions.projections[word]
        assert module is backbone.trunk.get_submodule(path)
        assert tuple(module.weight.shape) == (extent.outputs, extent.inputs)
        assert (module.bias is not None) == extent.bias
        assert (projection.rows, projection.transposed) == (None, False)


def test_projections_of_one_input_name_read_one_tensor(backbone):
    seen = {}

    def write(name):
        return lambda module, args: seen.setdefault(name, set()).add(args[0].data_ptr())

    for word in WORDS:
        _, module, projection = backbone.projection(0, word)
        module.register_forward_pre_hook(write(projection.reads))
    with torch.no_grad():
        backbone.trunk(input_ids=torch.tensor([[0, 5, 6, 2]]))
    assert {name: len(pointers) for name, pointers in seen.items()} == {
        "attention": 1,
        "context": 1,
        "mlp": 1,
        "mlp-inner": 1,
    }


def test_inert_tensors_have_a_gradient_of_zero_and_the_others_do_not(backbone):
    backbone.trunk.double()
    ids = torch.tensor([[0, 5, 6, 9, 2], [0, 7, 8, 3, 2]])
    hidden = backbone.trunk(input_ids=ids).last_hidden_state
    (hidden * torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype).view_as(hidden)).sum().backward()
    inert = set(backbone.inert)
    assert len(inert) == 3
    for name, tensor in backbone.trunk.named_parameters():
        if name.startswith("encoder") and name.endswith("bias"):
            largest = float(tensor.grad.abs().max())
            assert (largest < 1e-12) == (name in inert), name
