"""The trunk without padding: the same rows, the same gradients, and a plain pass wherever that cannot be promised."""

import numpy as np
import pytest
import torch

from whichtune.models import backbone as backbones
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import Encoded, collate
from whichtune.models.layout import layout_of
from whichtune.models.load import load_backbone
from whichtune.models.packing import NAME, find_packing, find_window, is_worth_it, packing_attention
from whichtune.models.rehearse import why_padded
from whichtune.spec.backbones import RandomBackbone

FAMILIES = ["bert", "roberta", "distilbert", "albert", "gpt2", "llama", "opt", "phi"]
LENGTHS = [3, 11, 1, 7, 9, 2, 11, 5, 4, 6]
"""Enough texts for groups of like length."""


def load(family, **config):
    spec = RandomBackbone(kind="random", family=family, **({"config": config} if config else {}))
    return load_backbone(spec, LoadRequest(unpad=True))


def make_batch(backbone, side="right", lengths=LENGTHS, segments=None):
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, 60, sum(lengths)).astype(np.int32)
    marks = None if segments is None else draw.integers(0, 2, sum(lengths)).astype(np.int8)
    encoded = Encoded(tokens, np.cumsum([0, *lengths]), np.full(len(lengths), -1), marks)
    return collate(encoded, range(len(lengths)), side=side)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_rows_and_gradients_are_those_of_a_padded_pass(family, side):
    backbone = load(family)
    assert backbone.unpads
    batch = make_batch(backbone, side)
    parameter = next(one for name, one in backbone.trunk.named_parameters() if one.ndim == 2 and "embed" not in name)
    found = []
    for rowwise in (False, True):
        hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments, rowwise=rowwise)
        own = hidden[batch.layout.real]
        (gradient,) = torch.autograd.grad((own * torch.linspace(-1, 1, own.shape[1])).square().sum(), parameter)
        found.append((hidden, own, gradient))
    (_, own, gradient), (packed, ours, other) = found
    assert torch.allclose(own, ours, rtol=0, atol=1e-5 * float(own.detach().std()))
    assert torch.nn.functional.cosine_similarity(gradient.flatten(), other.flatten(), dim=0) >= 1 - 1e-6
    assert not packed[~batch.layout.real].any(), "padding comes back as zeros"


def test_groups_of_like_length_hold_every_row_once_and_no_more_padding_than_needed():
    layout = layout_of(torch.tensor(LENGTHS))
    packing = find_packing(layout)
    assert [one.width for one in packing.groups] == [5, 11]
    assert [one.batch for one in packing.groups] == [5, 5]
    rows = torch.arange(sum(LENGTHS)).float()[:, None].expand(-1, 2)
    spread = packing.spread(rows[None, None])
    assert [tuple(part.shape) for part in spread] == [(5, 1, 5, 2), (5, 1, 11, 2)]
    back = packing.gather([part.transpose(1, 2) for part in spread])
    assert torch.equal(back[0, :, 0], rows)
    firsts = set(np.cumsum([0, *LENGTHS[:-1]]).tolist())
    for one in packing.groups:
        assert set(one.inside[one.padding].tolist()) <= firsts, "padding shows a row of its own text"


def test_few_texts_are_one_group():
    assert find_packing(layout_of(torch.tensor([3, 11, 1, 7]))).order is None


def test_rows_that_are_not_numbers_stay_in_their_text():
    backbone = load("llama")
    batch = make_batch(backbone)
    rows = backbone.embed(batch)
    clean = backbone.run(rows, batch.layout, rowwise=True)
    rows = rows.clone()
    rows[3] = float("nan")
    spoilt = backbone.run(rows, batch.layout, rowwise=True)
    others = [place for place in range(len(LENGTHS)) if place != 3]
    assert torch.equal(clean[others], spoilt[others])
    assert spoilt[3, : LENGTHS[3]].isnan().all()


def test_segments_and_virtual_rows_in_front_go_with_their_rows():
    backbone = load("bert")
    batch = make_batch(backbone, segments=True)
    front = torch.randn(len(LENGTHS), 2, backbone.embedding_width)
    rows = torch.cat([front, backbone.embed(batch)], dim=1)
    layout = batch.layout.prepend(2)
    left, right = (backbone.run(rows, layout, batch.segments, rowwise=packed) for packed in (False, True))
    assert torch.allclose(left[layout.real], right[layout.real], atol=1e-5)


def test_no_text_looks_at_another():
    backbone = load("llama")
    batch = make_batch(backbone)
    alone = make_batch(backbone, lengths=LENGTHS[:2])
    both = backbone.run(backbone.embed(batch), batch.layout, rowwise=True)
    few = backbone.run(backbone.embed(alone), alone.layout, rowwise=True)
    assert torch.allclose(both[:2][alone.layout.real], few[alone.layout.real], atol=1e-5)


def test_the_attention_of_the_model_is_given_back_whatever_happens():
    backbone = load("bert")
    config = backbone.trunk.config
    before, packing = config._attn_implementation, find_packing(layout_of(torch.tensor([2])))

    def fail():
        with packing_attention(backbone.trunk, packing):
            assert config._attn_implementation == NAME
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert config._attn_implementation == before


def test_a_batch_with_little_padding_runs_as_it_is():
    assert not is_worth_it(layout_of(torch.tensor([20, 20, 20])))
    assert not is_worth_it(layout_of(torch.tensor([20, 20, 19])))
    assert is_worth_it(layout_of(torch.tensor([20, 10])))


def test_it_is_off_unless_asked_for_and_where_something_in_the_trunk_reads_whole_texts(monkeypatch):
    backbone = load("bert")
    batch = make_batch(backbone)
    calls = []
    monkeypatch.setattr(backbones, "run_packed", lambda *_: calls.append(1))
    backbone.run(backbone.embed(batch), batch.layout)
    plain = load_backbone(RandomBackbone(kind="random", family="bert"), LoadRequest())
    plain.run(plain.embed(batch), batch.layout, rowwise=True)
    assert not calls
    backbone.run(backbone.embed(batch), batch.layout, rowwise=True)
    assert calls


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("deberta-v2", "would differ"),
        ("mpnet", "would differ"),
        ("modernbert", "layer_types"),
        ("mistral", "sliding_window"),
        ("clip", "token ids alone"),
    ],
)
def test_a_family_whose_attention_does_otherwise_is_padded_with_the_reason(family, told):
    backbone = load(family)
    assert not backbone.unpads
    assert told in why_padded(backbone)


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"sliding_window": 4096}, "sliding_window"),
        ({"sliding_window": None}, None),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention"]}, None),
        ({"local_attention": 128}, "local_attention"),
        ({}, None),
    ],
)
def test_attention_that_reaches_only_so_far_is_found_in_the_configuration(config, window):
    assert find_window(config) == window
