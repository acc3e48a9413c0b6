import torch

from whichtune.layers.masks import MaskSource, StepKey
from whichtune.spec.seeds import Streams


def test_a_mask_depends_on_seed_step_and_input_alone():
    rows = torch.ones(4, 8)
    key = StepKey(Streams(1))
    first = MaskSource(key, "0.attention", 0.5).apply(rows)
    torch.manual_seed(99)
    assert torch.equal(MaskSource(key, "0.attention", 0.5).apply(rows), first)
    assert not torch.equal(MaskSource(key, "1.attention", 0.5).apply(rows), first)
    assert not torch.equal(MaskSource(StepKey(Streams(2)), "0.attention", 0.5).apply(rows), first)
    key.advance()
    assert not torch.equal(MaskSource(key, "0.attention", 0.5).apply(rows), first)


def test_one_mask_serves_all_who_read_the_input():
    source = MaskSource(StepKey(Streams(1)), "x", 0.3)
    rows = torch.randn(4, 8)
    query, value = source.apply(rows), source.apply(rows)
    assert torch.equal(query, value)


def test_kept_entries_are_scaled():
    dropped = MaskSource(StepKey(Streams(1)), "x", 0.25).apply(torch.ones(200, 200))
    kept = dropped[dropped != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / 0.75))
    assert abs(len(kept) / dropped.numel() - 0.75) < 0.01


def test_no_dropout_is_the_identity():
    rows = torch.randn(3, 3)
    assert MaskSource(StepKey(Streams(1)), "x", 0.0).apply(rows) is rows


def test_recomputing_gives_the_same_mask():
    source = MaskSource(StepKey(Streams(1)), "x", 0.5)
    rows = torch.randn(4, 8, requires_grad=True)
    plain = torch.autograd.grad(source.apply(rows).sum(), rows)[0]
    again = torch.utils.checkpoint.checkpoint(source.apply, rows, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again.sum(), rows)[0], plain)
