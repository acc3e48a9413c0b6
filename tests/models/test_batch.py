import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from whichtune.models.batch import Encoded, collate, mark_answers
from whichtune.models.layout import layout_of


def encode(rows, segments=False):
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    marks = (tokens % 2).astype(np.int8) if segments else None
    return Encoded(tokens, offsets, np.arange(len(rows), dtype=np.int64) * 10, marks)


cases = st.lists(st.lists(st.integers(1, 50_000), min_size=1, max_size=12), min_size=1, max_size=8).flatmap(
    lambda rows: st.tuples(st.just(rows), st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
)


@given(cases, st.sampled_from(["left", "right"]), st.booleans())
def test_collation_agrees_with_a_loop(case, side, segments):
    rows, chosen = case
    batch = collate(encode(rows, segments), chosen, side=side)
    width = max(len(rows[index]) for index in chosen)
    assert batch.ids.shape == (len(chosen), width)
    for place, index in enumerate(chosen):
        padding = [0] * (width - len(rows[index]))
        expected = rows[index] + padding if side == "right" else padding + rows[index]
        assert batch.ids[place].tolist() == expected
        if segments:
            assert batch.segments[place].tolist() == [token % 2 for token in expected]
    assert (batch.segments is not None) == segments
    assert batch.rows.tolist() == chosen
    assert batch.targets.tolist() == [index * 10 for index in chosen]
    assert batch.tokens == sum(len(rows[index]) for index in chosen)


@given(cases)
def test_both_sides_hold_the_same_tokens_at_the_same_positions(case):
    rows, chosen = case
    left, right = (collate(encode(rows), chosen, side=side) for side in ("left", "right"))
    for batch in (left, right):
        assert torch.equal(batch.ids == 0, ~batch.layout.real)
    assert torch.equal(left.ids[left.layout.real], right.ids[right.layout.real])
    assert torch.equal(left.layout.positions[left.layout.real], right.layout.positions[right.layout.real])


def test_rows_are_found_again():
    encoded = encode([[1, 2], [3], [4, 5, 6]])
    assert len(encoded) == 3
    assert encoded.lengths.tolist() == [2, 1, 3]
    assert encoded.row(2).tolist() == [4, 5, 6]


def test_a_token_id_of_zero_is_real():
    batch = collate(encode([[0, 0], [7]]), [0, 1])
    assert batch.tokens == 3
    assert batch.layout.real.tolist() == [[True, True], [True, False]]


def test_the_types_are_those_that_models_take():
    batch = collate(encode([[1], [2, 3]], segments=True), np.array([1, 0]))
    assert {batch.ids.dtype, batch.segments.dtype, batch.targets.dtype} == {torch.int64}
    moved = batch.to(torch.device("meta"))
    assert {moved.ids.device.type, moved.segments.device.type, moved.targets.device.type} == {"meta"}


def test_collating_copies():
    encoded = encode([[1, 2]])
    batch = collate(encoded, [0])
    batch.ids.fill_(9)
    batch.targets.fill_(9)
    assert encoded.tokens.tolist() == [1, 2]
    assert encoded.targets.tolist() == [0]


answered = st.lists(
    st.lists(st.integers(1, 50_000), min_size=1, max_size=9).flatmap(
        lambda row: st.tuples(st.just(row), st.integers(1, len(row)))
    ),
    min_size=1,
    max_size=6,
)
"""Rows of tokens, and where in each the answer begins: at its end where there is none."""


def with_answers(rows):
    plain = encode([row for row, _ in rows])
    return Encoded(plain.tokens, plain.offsets, plain.targets, starts=np.array([start for _, start in rows], np.int64))


@given(answered, st.sampled_from(["left", "right"]))
def test_targets_are_the_tokens_of_the_answers_and_nothing_else(rows, side):
    encoded = with_answers(rows)
    batch = collate(encoded, range(len(rows)), side=side)
    assert batch.targets.tolist() == [token for row, start in rows for token in row[start:]]
    for place, (row, start) in enumerate(rows):
        marked = batch.layout.targets[place]
        assert not (marked & ~batch.layout.real[place]).any(), "padding has no target"
        assert batch.layout.positions[place][marked].tolist() == list(range(start - 1, len(row) - 1))
        assert batch.ids[place][marked].tolist() == row[start - 1 : -1], "the rows in front of the targets"


@given(answered)
def test_prompts_are_the_rows_without_their_answers(rows):
    encoded = with_answers(rows)
    prompts = encoded.prompts()
    assert [prompts.row(at).tolist() for at in range(len(rows))] == [row[:start] for row, start in rows]
    assert prompts.starts is None
    assert prompts.prompts() is prompts
    assert np.array_equal(prompts.targets, encoded.targets)


def test_virtual_rows_in_front_have_no_target():
    layout = layout_of(torch.tensor([3, 5]))
    marked = mark_answers(layout, torch.tensor([2, 3]))
    assert marked.int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 1, 0]]


def test_rows_of_a_task_with_a_head_have_no_marks():
    assert collate(encode([[1, 2], [3]]), [0, 1]).layout.targets is None
