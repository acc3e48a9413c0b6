"""One batched product for all trials is a product each, forward and backward."""

import pytest
import torch
from torch import nn

from whichtune.layers.lora import LoraAdapter, LoraBank, LoraShape
from whichtune.layers.low_rank import SharedInput
from whichtune.layers.masks import MaskSource, StepKey
from whichtune.layers.side_by_side import add_many, line_up, reduce_many
from whichtune.spec.seeds import Streams

SHAPES = [LoraShape(2, 8.0), LoraShape(5, 4.0, rslora=True), LoraShape(3, 1.0)]
FEATURES, OUT = 6, 8
SLICES = {"whole": (None, None), "fused": (slice(0, 3), slice(5, 8))}


def make_trials(slices, rates):
    """Two adapters a trial that read one input: of a bank each, or of two slices of one bank."""
    trials = []
    for seed, (shape, rate) in enumerate(zip(SHAPES, rates, strict=True)):
        reads = SharedInput(MaskSource(StepKey(Streams(seed)), "x", rate))
        width = [OUT if one is None else one.stop - one.start for one in slices]
        own = [LoraAdapter(shape, (FEATURES, each), reads, one) for each, one in zip(width, slices, strict=True)]
        for place, adapter in enumerate(own):
            adapter.initialise(seed + place)
            nn.init.normal_(adapter.up, generator=torch.Generator().manual_seed(seed + place))
        trials.append(own)
    return trials


@pytest.mark.parametrize("slices", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("counts", [(4, 4, 4), (3, 5, 1)], ids=["as many rows", "other numbers of rows"])
@pytest.mark.parametrize("rates", [(0.0, 0.0, 0.0), (0.2, 0.0, 0.5)], ids=["dropout off", "dropout on"])
def test_all_at_once_is_one_after_another(slices, counts, rates):
    trials = make_trials(slices, rates)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(sum(counts), FEATURES, generator=generator, requires_grad=True)
    base, weights = nn.Linear(FEATURES, OUT), torch.randn(2, sum(counts), OUT, generator=generator)
    tensors = [rows, *(tensor for own in trials for one in own for tensor in (one.down, one.up))]

    lineup = line_up(counts, rows.device)
    low = reduce_many(rows, trials, lineup)
    at_once = [
        add_many(base(rows), part, same, lineup) for part, same in zip(low, zip(*trials, strict=True), strict=True)
    ]
    gradients = torch.autograd.grad(sum((weights[i] * one).sum() for i, one in enumerate(at_once)), tensors)

    banks = []
    for place in range(2):
        bank = LoraBank(base)
        for own in trials:
            bank.add_slot([own[place]])
        stops = torch.tensor(counts).cumsum(0).tolist()
        bank.routes = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
        banks.append(bank)
    in_turn = [bank(rows) for bank in banks]
    expected = torch.autograd.grad(sum((weights[i] * one).sum() for i, one in enumerate(in_turn)), tensors)
    for left, right in zip([*at_once, *gradients], [*in_turn, *expected], strict=True):
        assert torch.allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("counts", [(4, 4, 4), (3, 5, 1)])
def test_nothing_gets_into_another_trial(counts):
    found = []
    for spoilt in (False, True):
        trials = make_trials(SLICES["whole"], (0.2, 0.0, 0.5))
        rows = torch.ones(sum(counts), FEATURES)
        if spoilt:
            rows[counts[0] : counts[0] + counts[1]] = float("inf")
            with torch.no_grad():
                trials[1][0].down.fill_(float("nan"))
                trials[1][1].up.fill_(float("nan"))
        rows.requires_grad_()
        lineup = line_up(counts, rows.device)
        low = reduce_many(rows, trials, lineup)
        out = sum(
            add_many(torch.zeros(sum(counts), OUT), *both, lineup)
            for both in zip(low, zip(*trials, strict=True), strict=True)
        )
        out.sum().backward()
        others = [slice(0, counts[0]), slice(counts[0] + counts[1], None)]
        own = [tensor.grad for place in (0, 2) for one in trials[place] for tensor in (one.down, one.up)]
        found.append([*(out[one] for one in others), *(rows.grad[one] for one in others), *own])
        assert bool(torch.isfinite(out).all()) != spoilt
    assert all(torch.equal(left, right) for left, right in zip(*found, strict=True))
