import pytest
import torch
from torch import nn

from whichtune.errors import TrialError
from whichtune.layers.lora import LoraAdapter, LoraBank, LoraShape
from whichtune.layers.low_rank import SharedInput
from whichtune.layers.masks import MaskSource, StepKey
from whichtune.models.quantizing import FourBitLinear, Quantization
from whichtune.spec.seeds import Streams

SHAPE = LoraShape(rank=2, alpha=8)


def make_adapter(width=(6, 4), out=None, rate=0.0, seed=1):
    key = StepKey(Streams(seed))
    adapter = LoraAdapter(SHAPE, width, SharedInput(MaskSource(key, "x", rate)), out)
    adapter.initialise(seed)
    nn.init.normal_(adapter.up, generator=torch.Generator().manual_seed(seed))
    return adapter


def make_bank(**adapter):
    base = nn.Linear(6, 4)
    bank = LoraBank(base)
    bank.add_slot([make_adapter(**adapter)])
    return bank


def test_a_fresh_adapter_changes_nothing():
    bank = make_bank()
    nn.init.zeros_(bank.slots[0][0].up)
    rows = torch.randn(3, 5, 6)
    assert torch.equal(bank(rows), bank.base(rows))


def test_the_product_is_scaled_by_alpha_over_rank():
    bank = make_bank()
    adapter, rows = bank.slots[0][0], torch.randn(3, 6)
    expected = bank.base(rows) + 4.0 * (rows @ adapter.down.T @ adapter.up.T)
    assert torch.allclose(bank(rows), expected, atol=1e-6)


def test_the_rank_stabilised_scale():
    assert LoraShape(4, 8, rslora=True).scale == 4.0
    assert LoraShape(4, 8).scale == 2.0


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_merging_agrees_and_unmerging_is_exact(dtype, tolerance):
    bank = make_bank().to(dtype).eval()
    before, rows = bank.base.weight.detach().clone(), torch.randn(32, 6, dtype=dtype)
    unmerged = bank(rows)
    bank.merge()
    merged = bank(rows)
    assert not torch.equal(bank.base.weight, before)
    assert (merged - unmerged).abs().max() <= tolerance * unmerged.float().std()
    bank.unmerge()
    assert torch.equal(bank.base.weight, before)
    assert torch.equal(bank(rows), unmerged)


def test_train_and_eval_move_nothing():
    bank = make_bank()
    before = bank.base.weight.detach().clone()
    bank.eval()
    bank.train()
    bank.eval()
    assert torch.equal(bank.base.weight, before)
    assert not bank.merged


def test_a_fused_projection_takes_adapters_on_its_slices():
    base = nn.Linear(6, 12)
    bank = LoraBank(base)
    query, value = make_adapter(out=slice(0, 4), seed=1), make_adapter(out=slice(8, 12), seed=2)
    bank.add_slot([query, value])
    rows = torch.randn(5, 6)
    delta = bank(rows) - base(rows)
    assert torch.allclose(delta[:, :4], query(rows), atol=1e-6)
    assert torch.equal(delta[:, 4:8], torch.zeros(5, 4))
    assert torch.allclose(delta[:, 8:], value(rows), atol=1e-6)
    unmerged = bank(rows)
    bank.merge()
    assert torch.allclose(bank(rows), unmerged, atol=1e-5)


def test_a_transposed_weight_is_merged_transposed():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))

        def forward(self, rows):
            return rows @ self.weight

    bank = LoraBank(Transposed(), transposed=True)
    bank.add_slot([make_adapter()])
    rows = torch.randn(5, 6)
    unmerged = bank(rows)
    bank.merge()
    assert torch.allclose(bank(rows), unmerged, atol=1e-5)


def test_slots_see_their_own_rows_alone():
    bank = make_bank(seed=1)
    bank.add_slot([make_adapter(seed=2)])
    rows = torch.randn(5, 6)
    bank.routes = [slice(0, 2), slice(2, 5)]
    together = bank(rows)
    bank.routes = None
    assert torch.allclose(together[:2], bank(rows)[:2], atol=1e-6)
    other = bank.base(rows) + bank.slots[1][0](rows)
    assert torch.allclose(together[2:], other[2:], atol=1e-6)
    with pytest.raises(TrialError, match="share this projection"):
        bank.merge()


def test_a_fused_projection_gets_the_gradients_of_separate_ones():
    base = nn.Linear(6, 12)
    query, value = make_adapter(out=slice(0, 4), seed=1), make_adapter(out=slice(8, 12), seed=2)
    bank = LoraBank(base)
    bank.add_slot([query, value])
    rows, weights = torch.randn(5, 6, requires_grad=True), torch.randn(5, 12)
    (bank(rows) * weights).sum().backward()
    for adapter, part in ((query, weights[:, :4]), (value, weights[:, 8:])):
        low = rows.detach() @ adapter.down.T
        assert torch.allclose(adapter.up.grad, SHAPE.scale * part.T @ low, atol=1e-5)
        assert torch.allclose(adapter.down.grad, SHAPE.scale * (part @ adapter.up).T @ rows.detach(), atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_base_of_fewer_bits_keeps_its_type(kind):
    bank = make_bank()
    bank.base.to(kind)
    rows = torch.randn(5, 6, dtype=kind)
    out = bank(rows)
    assert out.dtype == kind
    expected = bank.base(rows).float() + bank.slots[0][0](rows.float())
    assert torch.allclose(out.float(), expected, atol=0.1)
    out.float().sum().backward()
    assert bank.slots[0][0].down.grad.dtype == torch.float32


def test_autocast_lowers_the_adapters_too():
    bank, rows = make_bank(rate=0.3), torch.randn(5, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = bank(rows)
    out.float().square().sum().backward()
    assert out.dtype == torch.bfloat16
    assert all(one.grad.dtype == torch.float32 for one in (rows, bank.slots[0][0].down, bank.slots[0][0].up))


def test_merging_twice_is_refused():
    bank = make_bank()
    bank.merge()
    with pytest.raises(TrialError, match="already merged"):
        bank.merge()
    bank.unmerge()
    with pytest.raises(TrialError, match="not merged"):
        bank.unmerge()


def make_packed_bank(bias=True):
    torch.manual_seed(0)
    linear = nn.Linear(6, 4, bias=bias)
    bank = LoraBank(FourBitLinear(linear.weight, linear.bias, Quantization()))
    bank.add_slot([make_adapter()])
    return bank.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_base_is_merged_beside_itself_and_comes_back(bias):
    bank = make_packed_bank(bias)
    packed, rows = bank.base, torch.randn(32, 6)
    before = {name: tensor.clone() for name, tensor in bank.state_dict().items()}
    with torch.no_grad():
        unmerged = bank(rows)
        bank.merge()
        merged = bank(rows)
    expected = packed.dequantize().weight + bank.slots[0][0].delta()
    assert isinstance(bank.base, nn.Linear)
    assert bank.merged
    assert torch.allclose(bank.base.weight, expected)
    assert (merged - unmerged).abs().max() <= 1e-5 * unmerged.std()
    with pytest.raises(TrialError, match="already merged"):
        bank.merge()
    bank.unmerge()
    assert bank.base is packed
    assert not bank.merged
    assert all(torch.equal(before[name], tensor) for name, tensor in bank.state_dict().items())
    assert set(before) == set(bank.state_dict())


def test_gradients_pass_a_packed_base():
    bank = make_packed_bank()
    rows = torch.randn(5, 6, requires_grad=True)
    bank(rows).square().sum().backward()
    adapter = bank.slots[0][0]
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in (rows, adapter.down, adapter.up))
    assert bank.base.weight.grad is None
