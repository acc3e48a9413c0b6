"""Running a trunk through our layout, against the library's own models from the same weights."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification, RobertaForSequenceClassification

from whichtune.errors import ModelError
from whichtune.models.batch import Encoded, collate
from whichtune.models.layout import layout_of

TEXTS = ["a fine film", "dull", "x" * 30, "nothing at all happens, twice"]
WHOLE = {"bert": BertForSequenceClassification, "roberta": RobertaForSequenceClassification}


def encode(backbone, texts=TEXTS):
    return backbone.encoder.encode(texts, np.zeros(len(texts)), 64)


def give_rows(backbone, batch):
    with torch.no_grad():
        return backbone.run(backbone.embed(batch), batch.layout, batch.segments)


@pytest.fixture(params=sorted(WHOLE))
def backbone(request, tiny_backbone):
    return tiny_backbone(request.param)


def make_whole(backbone):
    """The library's classifier with this trunk's weights, in the library's own way of running it."""
    family = backbone.anatomy.family
    config = type(backbone.trunk.config)(**backbone.trunk.config.to_dict() | {"num_labels": 3})
    config._attn_implementation = "sdpa"
    torch.manual_seed(3)
    whole = WHOLE[family](config).eval()
    getattr(whole, family).load_state_dict(backbone.trunk.state_dict())
    return whole


def test_logits_are_bit_equal_to_the_library(backbone):
    whole = make_whole(backbone)
    batch = collate(encode(backbone), range(len(TEXTS)))
    ids = torch.where(batch.layout.real, batch.ids, backbone.config["pad_token_id"])
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=batch.layout.real.long()).logits
        rows = backbone.pool(give_rows(backbone, batch), batch.layout)
        if backbone.anatomy.head == "dense-tanh":
            rows = torch.tanh(whole.classifier.dense(rows))
            logits = whole.classifier.out_proj(rows)
        else:
            logits = whole.classifier(rows)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("pooling", ["default", "first", "mean", "last"])
def test_rows_do_not_depend_on_batch_or_padding_side(backbone, pooling):
    encoded = encode(backbone)
    right, left = (collate(encoded, range(len(TEXTS)), side=side) for side in ("right", "left"))
    pooled = [backbone.pool(give_rows(backbone, batch), batch.layout, pooling) for batch in (right, left)]
    assert torch.allclose(pooled[0], pooled[1], atol=1e-5)
    for index in range(len(TEXTS)):
        one = collate(encoded, [index])
        alone = backbone.pool(give_rows(backbone, one), one.layout, pooling)
        assert torch.allclose(alone[0], pooled[0][index], atol=1e-5)


def test_pooling_reads_what_it_says(backbone):
    layout = layout_of(torch.tensor([2, 3]))
    hidden = torch.arange(2 * 3 * 32, dtype=torch.float32).view(2, 3, 32) / 100
    hidden[0, 2] = float("nan")
    assert torch.equal(backbone.pool(hidden, layout, "first"), hidden[:, 0])
    assert torch.equal(backbone.pool(hidden, layout, "last"), torch.stack([hidden[0, 1], hidden[1, 2]]))
    mean = torch.stack([hidden[0, :2].mean(0), hidden[1].mean(0)])
    assert torch.allclose(backbone.pool(hidden, layout, "mean"), mean)
    with pytest.raises(ModelError, match="did you mean 'mean'"):
        backbone.pool(hidden, layout, "meen")


def test_the_pooler_sees_the_first_read_row_behind_virtual_ones(backbone):
    layout = layout_of(torch.tensor([2, 3])).prepend(4)
    hidden = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = backbone.pool(hidden, layout)
        expected = hidden[:, 4]
        if backbone.anatomy.pooler is not None:
            expected = torch.tanh(backbone.trunk.pooler.dense(expected))
    assert torch.allclose(pooled, expected, atol=1e-6)


def test_virtual_rows_shift_positions_and_belong_to_the_first_segment(tiny_backbone):
    backbone = tiny_backbone("bert")
    batch = collate(encode(backbone), [0, 1])
    ones = torch.ones_like(batch.segments)
    rows = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    embedded, layout = torch.cat([rows, backbone.embed(batch)], 1), batch.layout.prepend(3)
    seen = {}
    backbone.trunk.embeddings.register_forward_pre_hook(lambda _, args, kw: seen.update(kw), with_kwargs=True)
    with torch.no_grad():
        hidden = backbone.run(embedded, layout, ones)
    assert hidden.shape == (2, layout.real.shape[1], 32)
    assert seen["token_type_ids"][0].tolist() == [0] * 3 + [1] * ones.shape[1]
    assert seen["position_ids"][0].tolist() == list(range(layout.real.shape[1]))


def test_roberta_counts_positions_from_behind_the_pad_id(tiny_backbone):
    backbone = tiny_backbone("roberta")
    assert backbone.anatomy.position_offset == 2
    seen = {}
    backbone.trunk.embeddings.register_forward_pre_hook(lambda _, args, kw: seen.update(kw), with_kwargs=True)
    give_rows(backbone, collate(encode(backbone), [1]))
    assert seen["position_ids"][0].tolist() == [2, 3, 4, 5, 6, 7]


def test_a_head_that_skips_the_pooler_leaves_it_unreached(tiny_backbone):
    bert, roberta = tiny_backbone("bert"), tiny_backbone("roberta")
    assert bert.unreached("mean") == ("pooler.dense.weight", "pooler.dense.bias")
    assert bert.unreached("default") == ()
    assert roberta.unreached("mean") == ()


def test_reached_is_what_gets_a_gradient(tiny_backbone):
    bert = tiny_backbone("bert")
    batch = collate(encode(bert), [0, 1])
    for pooling in ("default", "first", "mean", "last"):
        bert.trunk.zero_grad()
        bert.pool(bert.run(bert.embed(batch), batch.layout, batch.segments), batch.layout, pooling).sum().backward()
        without = {name for name, tensor in bert.trunk.named_parameters() if tensor.grad is None}
        assert without == set(bert.unreached(pooling))


def test_paths_and_modules(backbone):
    assert backbone.block_path(-1) == "encoder.layer.1"
    assert isinstance(backbone.module("encoder.layer.0.intermediate.dense"), nn.Linear)
    assert (backbone.embedding_width, backbone.hidden) == (32, 32)
    with pytest.raises(ModelError, match="encoder"):
        backbone.module("encodr")


def test_a_batch_of_a_wide_id_range_uses_the_token_table(backbone):
    encoded = Encoded(np.arange(6, dtype=np.int32), np.array([0, 6]), np.array([0]))
    batch = collate(encoded, [0])
    assert torch.equal(backbone.embed(batch)[0], backbone.trunk.get_input_embeddings().weight[:6])
