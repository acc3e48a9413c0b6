"""The written-out product against autograd's own, and what it keeps."""

import pytest
import torch
from torch import nn

from whichtune.layers.low_rank import SharedInput, reduce_rows
from whichtune.layers.masks import Mask, MaskSource, StepKey
from whichtune.spec.seeds import Streams

RANKS = [2, 4, 3]


class Adapter(nn.Module):
    def __init__(self, rank, reads):
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, 6, generator=torch.Generator().manual_seed(rank)))
        reads.readers.append(self)


def make_readers(rate=0.0):
    shared = SharedInput(MaskSource(StepKey(Streams(1)), "x", rate))
    return shared, [Adapter(rank, shared) for rank in RANKS]


def plain(rows, downs, mask):
    """The same by autograd, from the mask that is drawn for ones."""
    kept = rows if mask is None else rows * mask.drop(torch.ones_like(rows)) * mask.scale
    return [kept @ down.T for down in downs]


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
@pytest.mark.parametrize("mask", [None, Mask(3, 0.3)])
def test_products_and_gradients_are_those_of_autograd(shape, mask):
    rows = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    downs = [torch.randn(rank, 6, dtype=torch.float64, requires_grad=True) for rank in RANKS]
    weights = [torch.randn(*shape[:-1], rank, dtype=torch.float64) for rank in RANKS]
    found = []
    for make in (reduce_rows, plain):
        low = make(rows, downs, mask)
        total = sum((part * weight).sum() for part, weight in zip(low, weights, strict=True))
        found.append((low, torch.autograd.grad(total, [rows, *downs])))
    (low, gradients), (expected, others) = found
    pairs = [*zip(low, expected, strict=True), *zip(gradients, others, strict=True)]
    assert all(torch.allclose(one, other, rtol=1e-12) for one, other in pairs)


def test_a_frozen_input_gets_no_gradient_and_a_frozen_matrix_none():
    rows, down = torch.randn(5, 6), torch.randn(2, 6, requires_grad=True)
    (low,) = reduce_rows(rows, [down], Mask(1, 0.5))
    low.sum().backward()
    assert rows.grad is None
    assert down.grad.any()
    rows.requires_grad_()
    (low,) = reduce_rows(rows, [down.detach()], None)
    low.sum().backward()
    assert rows.grad.any()


def count_kept(make):
    """Bytes kept for the backward pass, beside parameters and the input itself."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    rows = torch.randn(1000, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        make(rows)
    kept.pop(rows.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def test_nothing_of_the_size_of_the_input_is_kept():
    shared, readers = make_readers(0.3)
    bytes_kept = count_kept(lambda rows: [shared.reduce(one, rows, None) for one in readers])
    assert bytes_kept < 1000 * 6 * 4 / 2
    assert count_kept(lambda rows: plain(rows, [one.down for one in readers], Mask(1, 0.3))) >= 2 * 1000 * 6 * 4


def test_readers_of_one_input_share_one_product(monkeypatch):
    shared, readers = make_readers(0.3)
    calls, original = [], torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *given: calls.append(1) or original(*given))
    rows = torch.randn(5, 6)
    together = [shared.reduce(one, rows, None) for one in readers]
    assert len(calls) == 1
    mask = shared.source.find()
    for low, one in zip(together, readers, strict=True):
        assert torch.allclose(low, plain(rows, [one.down], mask)[0], atol=1e-6)


def test_an_equal_input_that_is_another_is_reduced_anew_and_nothing_is_left_behind():
    shared, readers = make_readers()
    rows = torch.randn(5, 6)
    first = shared.reduce(readers[0], rows, None)
    other = shared.reduce(readers[1], rows + 1, None)
    assert torch.allclose(first, rows @ readers[0].down.T, atol=1e-6)
    assert torch.allclose(other, (rows + 1) @ readers[1].down.T, atol=1e-6)
    again = shared.reduce(readers[1], rows, slice(1, 3))
    assert torch.allclose(again, rows[1:3] @ readers[1].down.T, atol=1e-6)
    for one in readers:
        shared.reduce(one, rows, None)
    assert shared._held is None


def test_one_who_reads_twice_is_given_it_twice():
    shared, readers = make_readers()
    rows = torch.randn(5, 6)
    assert torch.equal(shared.reduce(readers[0], rows, None), shared.reduce(readers[0], rows, None))


def test_computing_again_draws_the_same_mask():
    shared, readers = make_readers(0.5)
    rows = torch.randn(4, 6, requires_grad=True)

    def run(rows):
        return sum(shared.reduce(one, rows, None).sum() for one in readers)

    wanted = [rows, *(one.down for one in readers)]
    first = torch.autograd.grad(run(rows), wanted)
    again = torch.autograd.grad(torch.utils.checkpoint.checkpoint(run, rows, use_reentrant=False), wanted)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_nothing_is_dropped_in_eval_mode():
    shared, readers = make_readers(0.5)
    for one in readers:
        one.eval()
    rows = torch.randn(5, 6)
    assert torch.allclose(shared.reduce(readers[0], rows, None), rows @ readers[0].down.T, atol=1e-6)
