import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from whichtune.models.layout import layout_of

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)
sides = st.sampled_from(["left", "right"])


@given(lengths, sides)
def test_a_layout_agrees_with_a_loop(sizes, side):
    layout = layout_of(torch.tensor(sizes), side=side)
    width = max(sizes)
    for row, size in enumerate(sizes):
        start = 0 if side == "right" else width - size
        for column in range(width):
            place = column - start
            real = 0 <= place < size
            assert bool(layout.real[row, column]) == real
            assert bool(layout.read[row, column]) == real
            assert int(layout.positions[row, column]) == (place if real else 0)
        assert (int(layout.first[row]), int(layout.last[row])) == (start, start + size - 1)
    assert layout.lengths.tolist() == sizes


@given(lengths, sides, st.integers(0, 4), st.booleans())
def test_virtual_rows_stand_in_front(sizes, side, count, read):
    before = layout_of(torch.tensor(sizes), side=side)
    after = before.prepend(count, read=read)
    assert after.real[:, :count].all()
    assert torch.equal(after.real[:, count:], before.real)
    assert torch.equal(after.read[:, count:], before.read)
    assert bool(after.read[:, :count].all()) or not (read and count)
    assert not after.read[:, :count].any() or read
    assert after.lengths.tolist() == [size + count for size in sizes]
    assert torch.equal(after.last, before.last + count)
    for row, size in enumerate(sizes):
        assert after.positions[row][after.real[row]].tolist() == list(range(size + count))
    assert not after.positions[~after.real].any()


def test_targets_move_with_their_rows():
    layout = layout_of(torch.tensor([2, 1]))
    marked = type(layout)(layout.real, layout.positions, layout.read, targets=layout.real.clone())
    assert marked.prepend(2).targets.tolist() == [[False, False, True, True], [False, False, True, False]]
    assert layout.prepend(2).targets is None


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        layout_of(torch.tensor([2, 0]))
    with pytest.raises(ValueError, match="side"):
        layout_of(torch.tensor([2]), side="middle")


def test_no_sequences_have_no_width():
    assert layout_of(torch.tensor([], dtype=torch.int64)).real.shape == (0, 0)


def test_a_layout_moves_whole():
    moved = layout_of(torch.tensor([2, 1])).to(torch.device("meta"))
    assert {moved.real.device.type, moved.positions.device.type, moved.read.device.type} == {"meta"}
