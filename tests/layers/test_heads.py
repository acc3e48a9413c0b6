import pytest
import torch

from whichtune.layers.heads import Head, HeadRequest, count_head


@pytest.mark.parametrize("form", ["linear", "dense-tanh"])
def test_a_head_counts_as_its_formula_says(form):
    head = Head(form, 12, HeadRequest(3), 0.1)
    assert sum(tensor.numel() for tensor in head.parameters()) == count_head(form, 12, 3)


def test_initial_tensors_come_from_the_seed_alone():
    first, second, other = (Head("dense-tanh", 12, HeadRequest(3), 0.1) for _ in range(3))
    first.initialise(1)
    torch.manual_seed(7)
    second.initialise(1)
    other.initialise(2)
    assert torch.equal(first.out.weight, second.out.weight)
    assert torch.equal(first.dense.weight, second.dense.weight)
    assert not torch.equal(first.out.weight, other.out.weight)


def test_a_linear_head_is_one_matrix_in_eval_mode():
    head = Head("linear", 4, HeadRequest(2), 0.5).eval()
    rows = torch.randn(3, 4)
    assert torch.allclose(head(rows), rows @ head.out.weight.T + head.out.bias)
