"""Masks of a run among others: the rows a run has alone, found again one by one."""

import pytest
import torch

from whichtune.layers.laid_masks import LaidMask, LaidMasks, Lay, RetracingKey, Seat
from whichtune.layers.masks import Mask, MaskSource, StepKey
from whichtune.models.layout import layout_of
from whichtune.spec.seeds import Streams

LENGTHS = [3, 1, 5, 2]
FEATURES = 7


@pytest.mark.parametrize("alone_packed", [True, False])
@pytest.mark.parametrize("width", [None, 5, 9])
def test_every_real_row_has_the_mask_it_has_alone(alone_packed, width):
    layout = layout_of(torch.tensor(LENGTHS))
    shape = (1, sum(LENGTHS)) if alone_packed else (4, 5)
    lone = Mask(11, 0.4).drop(torch.ones(*shape, FEATURES)).view(-1, FEATURES)
    shared = torch.ones(sum(LENGTHS), FEATURES) if width is None else torch.ones(4, width, FEATURES)
    found = LaidMask(11, 0.4, Lay(layout, alone_packed, width)).drop(shared)
    assert found.shape == shared.shape
    packed = 0
    for text, length in enumerate(LENGTHS):
        for place in range(length):
            row = found[packed] if width is None else found[text, place]
            assert torch.equal(row, lone[packed if alone_packed else text * 5 + place])
            packed += 1
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("alone_packed, width, same", [(True, None, True), (False, 5, True), (False, 9, False)])
def test_rows_that_stand_as_alone_are_not_moved(alone_packed, width, same):
    assert (Lay(layout_of(torch.tensor(LENGTHS)), alone_packed, width).places is None) is same


def test_a_source_follows_its_seat():
    key, seat = StepKey(Streams(1)), Seat()
    source = LaidMasks(MaskSource(key, "x", 0.5), seat)
    plain = MaskSource(key, "x", 0.5)
    assert source.find() == plain.find()
    seat.lay = Lay(layout_of(torch.tensor(LENGTHS)), True, None)
    assert (source.find().seed, source.find().lay) == (plain.find().seed, seat.lay)
    assert LaidMasks(MaskSource(key, "x", 0.0), seat).find() is None


def test_a_key_goes_back():
    key = RetracingKey(Streams(1))
    key.advance()
    before = key.derive("x")
    key.advance()
    assert key.derive("x") != before
    key.go_back(1)
    assert (key.micro_step, key.derive("x")) == (1, before)
