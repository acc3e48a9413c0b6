"""Tensors kept aside and put back."""

import gc

import pytest
import torch
from torch import nn

from whichtune.errors import ModelError
from whichtune.models.pristine import Keepsake


@pytest.fixture
def module():
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2).bfloat16())
    built[0].weight.data[0, 0] = float("nan")
    return built


def bits(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_chosen_tensors_come_back_bit_for_bit_and_no_others(module):
    before = bits(module)
    kept = Keepsake(module, ["0.weight", "1.running_mean", "1.num_batches_tracked", "2.bias"])
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(1)
    place = module[0].weight
    kept.restore()
    after = bits(module)
    changed = {name for name in before if not torch.equal(before[name].nan_to_num(7), after[name].nan_to_num(7))}
    assert changed == set(before) - {"0.weight", "1.running_mean", "1.num_batches_tracked", "2.bias"}
    assert module[0].weight is place
    assert torch.isnan(module[0].weight[0, 0])


def test_the_files_go_with_restore_close_and_the_object(module):
    kept = Keepsake(module, ["0.bias"])
    folder = kept._folder
    assert list(folder.iterdir())
    kept.restore()
    assert not folder.exists()
    kept.restore()
    other = Keepsake(module, ["0.bias"])
    folder = other._folder
    other.close()
    assert not folder.exists()
    third = Keepsake(module, ["0.bias"])
    folder = third._folder
    del third
    gc.collect()
    assert not folder.exists()


def test_tied_and_strided_tensors():
    module = nn.Module()
    module.register_parameter("one", nn.Parameter(torch.arange(6.0).view(2, 3).t()))
    module.register_parameter("two", module.one)
    before = module.one.detach().clone()
    kept = Keepsake(module, ["one", "two"])
    module.one.data.zero_()
    kept.restore()
    assert torch.equal(module.two, before)


def test_a_wrong_name_is_refused(module):
    with pytest.raises(ModelError, match=r"did you mean '0\.weight'"):
        Keepsake(module, ["0.wieght"])


def test_nothing_is_kept_of_tensors_without_values():
    module = torch.nn.Linear(2, 2, device="meta")
    Keepsake(module, ["weight"]).restore()
    assert module.weight.is_meta
