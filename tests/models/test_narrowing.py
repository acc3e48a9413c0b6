"""The last block for some rows: what it makes of them, and every gradient, is what it makes where all pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whichtune.models import unpadded
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.models.narrowing import find_chosen, find_questions, is_narrow, narrowing
from whichtune.models.packing import find_packing
from whichtune.models.rehearse import why_wide
from whichtune.spec.backbones import RandomBackbone

FAMILIES = ["bert", "roberta", "distilbert", "gpt2", "llama", "opt", "phi", "qwen3", "gemma"]
COARSE = ("llama", "qwen3", "gemma")
"""Their norms compute in float32, whatever they are given."""
LENGTHS = [3, 11, 1, 7, 9, 2, 11, 5, 4, 6]


def load(family, **config):
    spec = RandomBackbone(kind="random", family=family, **({"config": config} if config else {}))
    return load_backbone(spec, LoadRequest(unpad=True, narrow=True))


def make_batch(lengths=LENGTHS, side="right"):
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, 60, sum(lengths)).astype(np.int32)
    encoded = Encoded(tokens, np.cumsum([0, *lengths]), np.full(len(lengths), -1))
    return collate(encoded, range(len(lengths)), side=side)


def choose(layout, way):
    """Rows as heads read them: one of each text, or those with a target, of which some texts have none."""
    if way in ("first", "last"):
        return torch.nn.functional.one_hot(getattr(layout, way), layout.real.shape[1]).bool()
    wanted = layout.real & (layout.positions % 4 == 2)
    wanted[-1] = False
    return wanted


@pytest.fixture
def narrow_passes(count_calls):
    """Count the blocks that are narrowed."""
    return count_calls(unpadded, "narrowing")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("way", ["first", "last", "targets"])
@pytest.mark.parametrize("family", FAMILIES)
def test_wanted_rows_and_all_gradients_are_those_of_a_whole_block(narrow_passes, family, way, side):
    backbone = load(family)
    assert backbone.narrows
    backbone.trunk.double()
    narrow_passes.clear()  # a load tries it
    batch = make_batch(side=side)
    wanted = choose(batch.layout, way)
    found = []
    for narrows in (False, True):
        one = replace(backbone, narrows=narrows)
        hidden = one.run(one.embed(batch), batch.layout, batch.segments, rowwise=True, wanted=wanted)
        rows = hidden[wanted]
        backbone.trunk.zero_grad()
        (rows * torch.linspace(-1, 1, rows.shape[1], dtype=rows.dtype)).square().sum().backward()
        grads = {name: weight.grad for name, weight in backbone.trunk.named_parameters() if weight.grad is not None}
        found.append((rows, grads))
    (rows, grads), (ours, others) = found
    assert narrow_passes == [1], "and nothing is left out where it was not asked for"
    near = 1e-5 if family in COARSE else 1e-10
    assert torch.allclose(rows, ours, rtol=0, atol=near * float(rows.detach().std()))
    assert grads.keys() == others.keys()
    for name, grad in grads.items():
        assert torch.allclose(grad, others[name], rtol=0, atol=near * max(1.0, float(grad.abs().max()))), name


def test_few_rows_are_computed_and_all_come_back_in_their_places():
    backbone = load("bert")
    widths = []
    handle = backbone.blocks[-1].intermediate.register_forward_hook(lambda _, rows, __: widths.append(rows[0].shape))
    batch = make_batch()
    for narrows in (True, False):
        one = replace(backbone, narrows=narrows)
        hidden = one.run(one.embed(batch), batch.layout, rowwise=True, wanted=choose(batch.layout, "first"))
        assert hidden.shape[:2] == batch.layout.real.shape
    handle.remove()
    assert [shape[1] for shape in widths] == [len(LENGTHS), sum(LENGTHS)]


def test_a_batch_without_padding_is_narrowed_too(narrow_passes):
    backbone = load("bert")
    narrow_passes.clear()
    batch = make_batch(lengths=[6] * 4)
    wanted = choose(batch.layout, "first")
    rows = [
        one.run(one.embed(batch), batch.layout, rowwise=True, wanted=wanted)[:, 0]
        for one in (replace(backbone, narrows=False), backbone)
    ]
    assert narrow_passes
    assert torch.allclose(*rows, atol=1e-5)


def test_many_rows_are_not_worth_it_and_none_cannot_be():
    layout = layout_of(torch.tensor([4, 4]))
    wanted = torch.zeros_like(layout.real)
    assert not is_narrow(layout, wanted)
    wanted[:, :2] = True
    assert is_narrow(layout, wanted)
    wanted[0, 2] = True
    assert not is_narrow(layout, wanted)


def test_blocks_are_told_which_rows_they_run_on_and_given_back_on_every_path():
    backbone = load("llama")
    block, batch = backbone.blocks[-1], make_batch()
    layout, seen = batch.layout, []
    wanted = choose(layout, "last")
    handle = block.mlp.register_forward_hook(lambda *_: seen.append(find_chosen()))
    backbone.run(backbone.embed(batch), layout, rowwise=True, wanted=wanted)
    handle.remove()
    (chosen,) = seen
    assert chosen.rows == sum(LENGTHS)
    assert chosen.places.tolist() == (np.cumsum(LENGTHS) - 1).tolist()
    assert find_chosen() is None
    with pytest.raises(AttributeError, match="attention"), narrowing(layer := torch.nn.Linear(2, 2), _ask(layout)):
        layer(torch.zeros(1, sum(LENGTHS), 2))
    assert "forward" not in vars(layer)


def _ask(layout):
    return find_questions(find_packing(layout), layout, choose(layout, "last"))


@pytest.mark.parametrize(("family", "told"), [("albert", "its first one")])
def test_a_block_that_runs_again_is_run_whole_with_the_reason(family, told):
    backbone = load(family)
    assert backbone.unpads
    assert not backbone.narrows
    assert told in why_wide(backbone)


def test_a_block_that_would_give_other_rows_is_run_whole(monkeypatch):
    backbone = load("bert")
    backbone.blocks[-1].intermediate.register_forward_hook(lambda _, rows, out: out + rows[0].abs().amax())
    assert "would differ" in why_wide(backbone)


def test_it_is_off_unless_asked_for():
    spec = RandomBackbone(kind="random", family="bert")
    assert not load_backbone(spec, LoadRequest(unpad=True)).narrows
    assert not load_backbone(spec, LoadRequest(narrow=True)).narrows, "it stands on rows without padding"
