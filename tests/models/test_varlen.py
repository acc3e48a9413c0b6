"""Attention of packed rows by a kernel that takes them as they stand; here one that is written out stands for it."""

import functools

import pytest
import torch
from tests.models.test_packing import load, make_batch
from torch.nn import functional

from whichtune.models import varlen
from whichtune.models.layout import layout_of
from whichtune.models.packing import find_packing

LENGTHS = [3, 11, 1, 7, 9, 2]


class Kernel:
    """Text by text, with the names of torch's kernel in its newer form."""

    def __init__(self, spoil=0.0):
        self.calls, self.spoil = [], spoil

    def __call__(self, *given, scale=None, window_size=(-1, -1), enable_gqa=False):
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k = given
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert max_q == max_k == int(cu_seq_q.diff().max())
        assert enable_gqa == (query.shape[1] != key.shape[1])
        assert window_size in {(-1, -1), (-1, 0)}
        self.calls.append(len(query))
        return attend(query, key, value, cu_seq_q, window_size == (-1, 0), scale) + self.spoil


class Older:
    """The same in its first form: causal by name, as many heads everywhere."""

    def __init__(self):
        self.calls = []

    def __call__(self, *given, is_causal=False, scale=None):
        query, key, value, cu_seq_q, *_ = given
        if query.shape[1] != key.shape[1]:
            raise ValueError("as many heads, please")
        self.calls.append(len(query))
        return attend(query, key, value, cu_seq_q, is_causal, scale)


def attend(query, key, value, *manner):
    (bounds, causal, scale), rows = manner, []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        one = [each[start:end].transpose(0, 1) for each in (query, key, value)]
        one[1:] = [each.repeat_interleave(query.shape[1] // key.shape[1], dim=0) for each in one[1:]]
        one = [each.float() for each in one]
        scores = one[0] @ one[1].mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if causal:
            later = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        rows.append((scores.softmax(dim=-1) @ one[2]).transpose(0, 1))
    return torch.cat(rows).to(query.dtype)


@pytest.fixture
def here(monkeypatch):
    """Let kernels be for this machine's rows; return what puts one there."""
    monkeypatch.setattr(varlen, "DEVICES", {"cpu"})
    monkeypatch.setattr(varlen, "DTYPES", {torch.float32})

    def put(kernel):
        monkeypatch.setattr(varlen, "find_kernel", lambda: kernel)
        return kernel

    return put


@pytest.mark.parametrize("kernel", [Kernel, Older])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "phi"])
def test_rows_and_gradients_are_those_that_laid_out_attention_gives(family, kernel, here):
    config = {"num_attention_heads": 4, "num_key_value_heads": 2} if family == "llama" else {}
    backbone = load(family, **config)
    batch = make_batch(backbone, lengths=LENGTHS)
    parameter = next(one for name, one in backbone.trunk.named_parameters() if one.ndim == 2 and "embed" not in name)
    found = []
    for own in (None, here(kernel())):
        here(own)
        hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments, rowwise=True)
        weighed = hidden * torch.linspace(-1, 1, hidden.shape[-1])
        (gradient,) = torch.autograd.grad(weighed.square().sum(), parameter)
        found.append((hidden, gradient))
    tried = sum(varlen.TRIED)
    assert {count for count in own.calls if count != tried} == {sum(LENGTHS)}, "it was asked about packed rows"
    (laid, gradient), (packed, other) = found
    assert torch.allclose(laid, packed, rtol=0, atol=1e-5 * float(laid.detach().std()))
    assert functional.cosine_similarity(gradient.flatten(), other.flatten(), dim=0) >= 1 - 1e-6


def make_rows(width=16, heads=4):
    texts = find_packing(layout_of(torch.tensor(LENGTHS))).texts
    return tuple(torch.randn(sum(LENGTHS), heads, width) for _ in range(3)), texts


def test_bounds_are_where_texts_begin_whatever_the_groups():
    layout = layout_of(torch.tensor([*LENGTHS, 4, 5, 6, 8]))
    packing = find_packing(layout)
    assert len(packing.groups) > 1
    assert packing.texts.bounds.tolist() == [0, 3, 14, 15, 22, 31, 33, 37, 42, 48, 56]
    assert packing.texts.longest == 11


def test_a_kernel_that_gives_something_else_is_not_used(here):
    kernel = here(Kernel(spoil=0.1))
    rows, texts = make_rows()
    assert varlen.attend_as_packed(rows, texts, causal=True, how={}) is None
    assert kernel.calls == [sum(varlen.TRIED)], "it was tried once"
    assert varlen.attend_as_packed(rows, texts, causal=True, how={}) is None
    assert len(kernel.calls) == 1


def test_a_kernel_that_fails_is_not_used(here):
    def fail(*given, **named):
        raise RuntimeError("no image for this device")

    here(fail)
    rows, texts = make_rows()
    assert varlen.attend_as_packed(rows, texts, causal=False, how={}) is None


def test_a_kernel_that_knows_no_scale_is_left_alone_where_one_is_asked_for(here):
    def narrow(*given, is_causal=False):
        return attend(*given[:4], is_causal, None)

    here(narrow)
    rows, texts = make_rows()
    assert varlen.attend_as_packed(rows, texts, causal=True, how={"scaling": 0.5}) is None
    assert varlen.attend_as_packed(rows, texts, causal=True, how={}) is not None


def test_under_autocast_it_is_given_what_plain_attention_would_make_of_the_rows(here, monkeypatch):
    kernel = here(Kernel())
    (query, key, value), texts = make_rows()
    assert varlen.attend_as_packed((query, key, value.bfloat16()), texts, causal=True, how={}) is None
    monkeypatch.setattr(varlen, "DTYPES", {torch.bfloat16})
    with torch.autocast("cpu", torch.bfloat16):
        found = varlen.attend_as_packed((query, key, value.bfloat16()), texts, causal=True, how={})
    assert found.dtype == torch.bfloat16
    assert kernel.calls[-1] == sum(LENGTHS)


def test_memory_that_is_short_says_nothing_of_a_kernel(here):
    calls = []

    def fill(*given, scale=None, window_size=(-1, -1), enable_gqa=False):
        calls.append(len(given[0]))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("full")
        return attend(*given[:4], window_size == (-1, 0), scale)

    here(fill)
    rows, texts = make_rows()
    with pytest.raises(torch.OutOfMemoryError):
        varlen.attend_as_packed(rows, texts, causal=True, how={})
    assert varlen.attend_as_packed(rows, texts, causal=True, how={}) is not None


def test_it_is_tried_where_nothing_keeps_gradients_too(here):
    here(Kernel())
    rows, texts = make_rows(width=24)
    with torch.inference_mode():
        assert varlen.attend_as_packed(rows, texts, causal=False, how={"scaling": 0.3}) is not None


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        pytest.param({}, {"dropout": 0.1}, id="dropout"),
        pytest.param({}, {"softcap": 30.0}, id="what it would not hear of"),
        pytest.param({"width": 12}, {}, id="a width it does not take"),
        pytest.param({"width": 512, "heads": 1}, {}, id="heads too wide"),
    ],
)
def test_what_no_kernel_takes_is_laid_out(changes, how, here):
    kernel = here(Kernel())
    rows, texts = make_rows(**changes)
    assert varlen.attend_as_packed(rows, texts, causal=False, how=how) is None
    assert not kernel.calls


def test_rows_of_this_machine_never_ask_for_a_kernel(monkeypatch):
    monkeypatch.setattr(varlen, "find_kernel", pytest.fail)
    rows, texts = make_rows()
    assert varlen.attend_as_packed(rows, texts, causal=False, how={}) is None


def test_the_names_are_those_of_the_torch_that_is_here():
    kernel = varlen.find_kernel()
    if kernel is None:
        pytest.skip("this torch has no kernel for texts of any lengths")
    rows, texts = make_rows(heads=4)
    few = (rows[0], rows[1][:, :2], rows[2][:, :2])
    meta = tuple(one.to("meta") for one in few)
    given = varlen.Texts(texts.bounds.to("meta"), texts.longest)
    for causal in (False, True):
        assert varlen._call(kernel, meta, given, varlen.Manner(causal, 0.3)).shape == rows[0].shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: the kernel itself is on one")
@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "phi"])
def test_the_kernel_of_a_card_gives_the_rows_of_laid_out_attention(family, cast, monkeypatch):
    own, calls = varlen.find_kernel(), []
    if own is None:
        pytest.skip("this torch has no kernel for texts of any lengths")

    @functools.wraps(own)
    def count(*given, **named):
        calls.append(len(given[0]))
        return own(*given, **named)

    shape = {"hidden_size": 128, "num_attention_heads": 4}
    config = {"n_embd": 128, "n_head": 4} if family == "gpt2" else shape
    config |= {"num_key_value_heads": 2} if family == "llama" else {}
    backbone, found = load(family, **config), []
    backbone.trunk.to("cuda", torch.float32 if cast else torch.bfloat16).eval()
    batch = make_batch(backbone, lengths=LENGTHS).to(torch.device("cuda"))
    weight = next(one for name, one in backbone.trunk.named_parameters() if one.ndim == 2 and "embed" not in name)
    for kernel in (None, count):
        monkeypatch.setattr(varlen, "find_kernel", lambda kernel=kernel: kernel)
        with torch.autocast("cuda", torch.bfloat16, enabled=cast):
            hidden = backbone.run(backbone.embed(batch), batch.layout, batch.segments, rowwise=True).float()
        weighed = hidden * torch.linspace(-1, 1, hidden.shape[-1], device="cuda")
        found.append((hidden, torch.autograd.grad(weighed.square().sum(), weight)[0].float()))
    assert sum(LENGTHS) in calls
    (laid, gradient), (packed, other) = found
    assert torch.allclose(laid, packed, rtol=0, atol=0.1 * float(laid.detach().std()))
    assert functional.cosine_similarity(gradient.flatten(), other.flatten(), dim=0) >= 0.99
