from torch import nn

from whichtune.models.count import count_parameters


def test_shared_tensors_count_once_and_buffers_do_not():
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    assert count_parameters(nn.Sequential(one, two, nn.BatchNorm1d(3))) == 9 + 3 + 3 + 6
