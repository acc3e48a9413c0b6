import pytest
import torch

from whichtune.layers.masks import Mask, MaskSource, StepKey
from whichtune.spec.seeds import Streams


def draw(seed=1, name="0.attention", rate=0.5, shape=(4, 8)):
    return MaskSource(StepKey(Streams(seed)), name, rate).find().drop(torch.ones(shape))


def test_a_mask_depends_on_seed_step_and_input_alone():
    key = StepKey(Streams(1))
    first = MaskSource(key, "0.attention", 0.5).find().drop(torch.ones(4, 8))
    torch.manual_seed(99)
    assert torch.equal(draw(), first)
    assert not torch.equal(draw(name="1.attention"), first)
    assert not torch.equal(draw(seed=2), first)
    key.advance()
    assert not torch.equal(MaskSource(key, "0.attention", 0.5).find().drop(torch.ones(4, 8)), first)


def test_a_mask_is_drawn_again_as_it_was():
    mask, rows = MaskSource(StepKey(Streams(1)), "x", 0.3).find(), torch.randn(4, 7)
    assert torch.equal(mask.drop(rows), mask.drop(rows))
    assert torch.equal(mask.drop(rows) != 0, mask.drop(torch.ones(4, 7)) != 0)


def test_kept_entries_stay_as_they_are_and_the_gradient_knows_nothing():
    rows = torch.randn(50, 3, requires_grad=True)
    dropped = Mask(3, 0.5).drop(rows)
    assert not dropped.requires_grad
    assert torch.equal(dropped[dropped != 0], rows.detach()[dropped != 0])


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_share_that_is_dropped_is_the_rate_and_the_scale_keeps_the_mean(rate, kind):
    mask, entries = Mask(7, rate), 200_003
    share = float(mask.drop(torch.ones(entries, dtype=kind)).float().mean())
    assert abs(share - (1 - rate)) < 4.5 * (rate * (1 - rate) / entries) ** 0.5
    assert mask.scale == pytest.approx(1 / (1 - rate), rel=2e-4)


def test_entries_of_one_drawn_number_are_independent():
    kept = Mask(5, 0.5).drop(torch.ones(100_000, 4))
    counts = (kept @ torch.tensor([1.0, 2.0, 4.0, 8.0])).long().bincount(minlength=16)
    assert (counts - 6250).abs().max() < 4.5 * (100_000 * 15 / 256) ** 0.5


def test_no_dropout_is_no_mask():
    assert MaskSource(StepKey(Streams(1)), "x", 0.0).find() is None


def test_rows_that_lie_otherwise_in_memory_have_the_same_mask():
    rows = torch.randn(6, 4)
    assert torch.equal(Mask(1, 0.4).drop(rows.T.contiguous().T), Mask(1, 0.4).drop(rows))
