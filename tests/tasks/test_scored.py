import numpy as np
import torch

from whichtune.data.examples import Example
from whichtune.records.predictions import GREATEST_RANK
from whichtune.tasks.scored import KEPT_LABELS, gather, score_outputs, score_shares, tabulate_scored


def test_the_rank_of_gold_is_its_place_among_sorted_labels():
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=(50, KEPT_LABELS + 30)))
    targets = torch.from_numpy(np.random.default_rng(1).integers(KEPT_LABELS + 30, size=50))
    scored = score_outputs(outputs, targets)
    order = np.argsort(-outputs.float().numpy(), axis=1, kind="stable")
    expected = [list(row).index(target) for row, target in zip(order, targets.tolist(), strict=True)]
    assert scored.probabilities is None
    assert scored.gold_rank is not None
    assert scored.gold_rank.dtype == np.int16
    assert scored.gold_rank.tolist() == expected


def test_equally_likely_labels_stand_in_their_order_so_that_rank_0_is_the_answer():
    shares = np.array([[0.5, 0.0, 0.5, 0.0]] * 4)
    scored = score_shares(shares, np.arange(4))
    assert scored.gold_rank is not None
    assert scored.gold_rank.tolist() == [0, 2, 1, 3]
    assert (scored.predicted == np.arange(4)).tolist() == (scored.gold_rank == 0).tolist()


def test_numbers_that_are_none_never_count_as_right():
    scored = score_outputs(torch.full((1, 7), float("nan")), torch.tensor([0]))
    assert scored.gold_rank is not None
    assert scored.gold_rank.tolist() == [7]


def test_ranks_of_more_labels_than_fit_are_cut():
    outputs = torch.arange(GREATEST_RANK + 10.0)[None]
    scored = score_outputs(outputs, torch.tensor([0]))
    assert scored.gold_rank is not None
    assert scored.gold_rank.tolist() == [GREATEST_RANK]


def test_ranks_go_with_their_rows_and_are_none_without_gold():
    outputs = torch.eye(3)[[0, 1, 2, 0]]
    first = score_outputs(outputs[:2], torch.tensor([0, 0]))
    second = score_outputs(outputs[2:], torch.tensor([1, 1]))
    both = gather([first, second], [np.array([3, 1]), np.array([0, 2])])
    rows = [Example(str(n), "test", "a", "x", f"f:{n}") for n in range(4)]
    table = tabulate_scored("test", rows, both, ("x", "y", "z"))
    assert table.gold_rank is not None
    assert table.gold_rank.tolist() == [2, 1, 1, 0]
    blank = score_outputs(outputs[2:], torch.tensor([1, -1]))
    assert blank.gold_rank is None
    assert gather([first, blank], [np.array([3, 1]), np.array([0, 2])]).gold_rank is None
