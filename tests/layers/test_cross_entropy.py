import pytest
import torch
from torch.nn import functional

from whichtune.layers import cross_entropy
from whichtune.layers.cross_entropy import sum_cross_entropy


def make(rows=7, kind=torch.float32, scale=3.0):
    draw = torch.Generator().manual_seed(1)
    scores = (torch.randn(rows, 11, generator=draw) * scale).to(kind).requires_grad_()
    return scores, torch.randint(0, 11, (rows,), generator=draw)


def expected(scores, targets):
    total = functional.cross_entropy(scores.float(), targets, reduction="sum")
    return total, torch.autograd.grad(total * 0.5, scores)[0]


@pytest.mark.parametrize("chunk", [1, 3 * 11 * 4, 10**6])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_loss_and_gradient_are_those_of_torch_whatever_the_chunks(chunk, kind, tolerance, monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", chunk)
    scores, targets = make(kind=kind)
    total = sum_cross_entropy(scores, targets)
    (gradient,) = torch.autograd.grad(total * 0.5, scores)
    other, wanted = expected(scores, targets)
    assert torch.allclose(total, other, rtol=1e-6)
    assert gradient.dtype == kind
    assert (gradient - wanted).abs().max() <= tolerance


def test_no_row_costs_nothing_and_large_scores_stay_numbers():
    assert sum_cross_entropy(*make(rows=0)).item() == 0
    scores, targets = make(scale=1e4)
    total = sum_cross_entropy(scores, targets)
    assert torch.allclose(total, expected(scores, targets)[0])
    assert torch.autograd.grad(total, scores)[0].isfinite().all()


def test_a_score_that_is_no_number_shows():
    scores, targets = make()
    with torch.no_grad():
        scores[2, 3] = float("nan")
    assert sum_cross_entropy(scores, targets).isnan()


def test_nothing_but_the_scores_is_kept():
    scores, targets = make(rows=1000)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        sum_cross_entropy(scores, targets)
    kept.pop(scores.untyped_storage().data_ptr())
    assert sum(kept.values()) <= 1000 * (8 + 4)
