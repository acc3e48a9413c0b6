import numpy as np
import torch

from whichtune.bench.memory import find_faults
from whichtune.bench.memory_step import UNLABELLED, fill, pad
from whichtune.models.batch import Encoded

SAME = {"trained": 10, "loss": 2.0, "gradient_norm": 1.0}


def test_sides_that_did_the_same_have_no_fault():
    assert find_faults(SAME, SAME | {"loss": 2.0001}, alike=True) == []


def test_what_differs_is_told():
    assert find_faults(SAME, SAME | {"trained": 11}, alike=False) == ["10 numbers trained against 11"]
    assert "gradient norm" in find_faults(SAME, SAME | {"gradient_norm": 1.1}, alike=True)[0]
    assert find_faults(SAME, SAME | {"gradient_norm": 1.1}, alike=False) == []  # masks differ
    assert find_faults(SAME, SAME | {"loss": float("nan")}, alike=True)


def test_labels_stand_on_answers_alone():
    tokens = np.array([5, 6, 7, 8, 9, 5, 6, 9], np.int32)
    encoded = Encoded(tokens, np.array([0, 5, 8]), np.full(2, -1), starts=np.array([3, 1]))
    made = pad(encoded)
    assert made["labels"].tolist() == [[UNLABELLED] * 3 + [8, 9], [UNLABELLED, 6, 9] + [UNLABELLED] * 2]
    assert made["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]


def test_both_sides_fill_their_adapters_with_the_same_numbers():
    first, second = torch.zeros(3, 2), torch.zeros(3, 2)
    fill({("blocks.0.q", "down"): first})
    fill({("blocks.0.q", "down"): second})
    assert torch.equal(first, second)
    fill({("blocks.1.q", "down"): second})
    assert not torch.equal(first, second)
