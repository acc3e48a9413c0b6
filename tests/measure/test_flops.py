"""Counts equal 2 m n k sums worked out by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertForSequenceClassification

from whichtune.errors import TrialError
from whichtune.measure.flops import Flops, count_flops, multiplies_matrices
from whichtune.models.quantizing import FourBitLinear, Quantization

B, S, H, INNER, L, HEADS, C = 3, 7, 16, 40, 2, 4, 5


def backward(loss: torch.Tensor) -> None:
    loss.backward()


def test_linear_layers():
    first, second = nn.Linear(6, 10), nn.Linear(10, 4)
    rows = torch.randn(8, 6)
    flops = count_flops(lambda: second(first(rows).relu()).sum(), backward)
    one, two = 2 * 8 * 6 * 10, 2 * 8 * 10 * 4
    assert flops == Flops(one + two, one + 2 * two)  # the first layer's input needs no gradient


def test_forward_alone_has_no_backward_figure():
    layer = nn.Linear(6, 10)
    with torch.no_grad():
        assert count_flops(lambda: layer(torch.randn(8, 6))) == Flops(2 * 8 * 6 * 10, None)
    with torch.inference_mode():
        assert count_flops(lambda: layer(torch.randn(2, 4, 6))).forward == 2 * 8 * 6 * 10
        assert count_flops(lambda: layer(torch.randn(6))).forward == 2 * 6 * 10


def test_lora_beside_a_frozen_layer():
    rows, width, out, rank = 8, 6, 10, 2
    below = nn.Linear(width, width)
    base = nn.Linear(width, out).requires_grad_(False)
    down, up = nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=False)

    def forward():
        hidden = below(torch.ones(rows, width))
        return (base(hidden) + up(down(hidden))).sum()

    flops = count_flops(forward, backward)
    trunk, adapter_down, adapter_up = 2 * rows * width * out, 2 * rows * width * rank, 2 * rows * rank * out
    bottom = 2 * rows * width * width
    assert flops.forward == bottom + trunk + adapter_down + adapter_up
    assert flops.backward == bottom + trunk + 2 * adapter_down + 2 * adapter_up  # no gradient of the frozen weight


def test_counts_add_up():
    assert Flops(1, 2) + Flops(10, 20) == Flops(11, 22)
    assert Flops(1, None) + Flops(10, 20) == Flops(11, None)


@pytest.mark.parametrize(
    ("dropout", "mask", "causal", "share"),
    [
        (0.0, None, False, 2.5),
        (0.0, "float", False, 2.5),
        (0.0, "bool", False, 2.5),
        (0.0, None, True, 2.5),
        (0.3, None, False, 2.0),
        (0.3, "bool", False, 2.0),
    ],
)
def test_attention_is_counted_on_every_path(dropout, mask, causal, share):
    query, key, value = (torch.randn(B, HEADS, rows, 4, requires_grad=True) for rows in (S, S + 2, S + 2))
    masks = {None: None, "float": torch.zeros(B, 1, S, S + 2), "bool": torch.ones(B, 1, S, S + 2, dtype=torch.bool)}

    def forward():
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=masks[mask], dropout_p=dropout, is_causal=causal
        ).sum()

    flops = count_flops(forward, backward)
    products = 2 * (2 * B * HEADS * S * (S + 2) * 4)
    assert flops.forward == products
    assert flops.backward == share * products  # the fused kernel recomputes the scores


def test_grouped_queries():
    query = torch.randn(B, 4, S, 8)
    key, value = torch.randn(B, 2, S, 8), torch.randn(B, 2, S, 8)
    flops = count_flops(lambda: F.scaled_dot_product_attention(query, key, value, enable_gqa=True))
    assert flops.forward == 4 * B * 4 * S * S * 8


@pytest.fixture
def bert():
    config = BertConfig(
        vocab_size=50,
        hidden_size=H,
        intermediate_size=INNER,
        num_hidden_layers=L,
        num_attention_heads=HEADS,
        num_labels=C,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def theory() -> tuple[int, int, int]:
    """Linear layers of the blocks, attention, pooler and classifier of one forward pass."""
    blocks = L * 2 * B * S * (4 * H * H + 2 * H * INNER)
    attention = L * 4 * B * S * S * H
    return blocks, attention, 2 * B * H * H + 2 * B * H * C


def loss_of(model):
    ids = torch.randint(50, (B, S))
    mask = torch.ones(B, S, dtype=torch.long)
    mask[0, 4:] = 0
    labels = torch.zeros(B, dtype=torch.long)
    return lambda: model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize(("kernel", "attention_backward"), [("sdpa", 2.5), ("eager", 2.0)])
def test_tiny_bert_against_theory(bert, kernel, attention_backward):
    bert.set_attn_implementation(kernel)
    blocks, attention, head = theory()
    flops = count_flops(loss_of(bert.train()), backward)
    assert flops.forward == blocks + attention + head
    assert flops.backward == 2 * (blocks + head) + attention_backward * attention


def test_frozen_trunk_has_only_the_heads_backward(bert):
    bert.bert.requires_grad_(False)
    flops = count_flops(loss_of(bert), backward)
    assert flops.forward == sum(theory())
    assert flops.backward == 2 * B * H * C  # weights alone: what lies below asks for nothing


def test_checkpointed_blocks_are_computed_again_in_the_backward_pass(bert):
    for block in bert.bert.encoder.layer:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    blocks, attention, head = theory()
    flops = count_flops(loss_of(bert.train()), backward)
    assert flops.forward == blocks + attention + head
    again = flops.backward - (2 * (blocks + head) + 2.5 * attention)
    last_product = L * 2 * B * S * INNER * H  # recomputation stops at the last tensor that is needed
    assert blocks + attention - last_product <= again <= blocks + attention


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_gradients_of_a_convolution_cost_what_it_costs_itself(kind, groups):
    layer = kind(8, 16, 3, stride=2, padding=1, groups=groups)
    images = torch.randn(2, 8, 9, 9, requires_grad=True)
    whole = count_flops(lambda: layer(images), lambda out: out.sum().backward())
    places = 5 * 5 if kind is nn.Conv2d else 9 * 9
    assert whole == Flops(2 * 2 * places * 3 * 3 * 8 * 16 // groups, 2 * 2 * 2 * places * 3 * 3 * 8 * 16 // groups)
    first = count_flops(lambda: layer(images.detach()), lambda out: out.sum().backward())
    assert first == Flops(whole.forward, whole.forward)


def test_in_place_products_are_counted():
    left, right, total = torch.randn(3, 4), torch.randn(4, 5), torch.zeros(3, 5)
    assert count_flops(lambda: total.addmm_(left, right)).forward == 2 * 3 * 4 * 5
    stack = torch.zeros(2, 3, 5)
    assert count_flops(lambda: stack.baddbmm_(left.expand(2, 3, 4), right.expand(2, 4, 5))).forward == 2 * 2 * 3 * 4 * 5
    assert count_flops(lambda: torch.addmv(torch.zeros(3), left, right[:, 0])).forward == 2 * 3 * 4
    assert count_flops(lambda: left[0] @ right[:, 0]).forward == 2 * 4


def test_a_product_without_a_formula_stops_the_count():
    left = torch.randint(-3, 3, (32, 32), dtype=torch.int8)
    with pytest.raises(TrialError, match=r"aten\._int_mm"):
        count_flops(lambda: torch._int_mm(left, left))


def test_a_product_without_a_formula_in_the_backward_pass_stops_it_too():
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            return rows.sum()

        @staticmethod
        def backward(ctx, gradient):
            square = torch.ones(32, 32, dtype=torch.int8)
            return gradient * torch._int_mm(square, square).float()

    rows = torch.randn(32, 32, requires_grad=True)
    with pytest.raises(TrialError, match=r"aten\._int_mm"):
        count_flops(lambda: Hidden.apply(rows), backward)


@pytest.mark.parametrize(
    "name",
    [
        "aten.mm",
        "aten.addmm",
        "aten.bmm",
        "aten._addmm_activation",
        "aten._int_mm",
        "aten._weight_int4pack_mm",
        "aten._grouped_mm",
        "bitsandbytes.gemm_4bit",
        "bitsandbytes.int8_linear_matmul",
        "aten._scaled_dot_product_flash_attention_for_cpu",
        "aten.mkldnn_linear",
        "aten._trilinear",
        "aten._native_multi_head_attention",
        "aten.convolution",
        "aten._cudnn_rnn",
        "flash_attn._flash_attn_forward",
        "quantized.linear_dynamic",
        "aten.dot",
        "aten.mv",
        "aten.addmv_",
        "aten._wrapped_quantized_linear_prepacked",
    ],
)
def test_names_of_products(name):
    assert multiplies_matrices(name)


@pytest.mark.parametrize(
    "name",
    [
        "aten.lgamma",
        "aten.igamma",
        "aten.cummax",
        "aten.hamming_window",
        "aten.upsample_bilinear2d",
        "aten.add",
        "aten.gelu",
        "aten._convert_indices_from_coo_to_csr",
        "aten.native_layer_norm",
        "aten.embedding",
        "aten.native_dropout",
        "aten.remove",
        "quantized.linear_prepack",
        "quantized.linear_unpack_fp16",
        "aten._compute_linear_combination",
        "aten.mul",
        "aten._softmax_backward_data",
        "aten.digamma",
    ],
)
def test_names_that_only_look_like_products(name):
    assert not multiplies_matrices(name)


@pytest.mark.parametrize("double", [True, False])
def test_four_bit_products_count_as_those_of_the_matrix_they_stand_for(double):
    rows, width, out = (3, 8), 64, 10
    layers = [FourBitLinear(torch.randn(out, width), None, Quantization(double=double))]
    layers.append(FourBitLinear(torch.randn(width, out), nn.Parameter(torch.zeros(width)), Quantization(double=double)))

    def forward(gradient):
        hidden = torch.ones(*rows, width, requires_grad=gradient)
        return layers[1](layers[0](hidden)).sum()

    one = 2 * 3 * 8 * width * out
    assert count_flops(lambda: forward(True), backward) == Flops(2 * one, 2 * one)  # gradients of the inputs alone
    assert count_flops(lambda: forward(False), backward) == Flops(2 * one, 0)  # but for the bias nothing trains
    with torch.no_grad():
        assert count_flops(lambda: forward(False)).forward == 2 * one
