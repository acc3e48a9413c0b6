"""Products by oneDNN are those by MKL, rounded otherwise (T1): of maps alone, and of whole trainings."""

import copy
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from transformers.pytorch_utils import Conv1D

from whichtune.engine.build import request_load
from whichtune.engine.embedding import How, key_embeddings
from whichtune.engine.fit import accumulate, advance
from whichtune.engine.optimizing import Arithmetic
from whichtune.engine.predict import answer_rows
from whichtune.engine.prefix_cache import Keeping, key_prefix
from whichtune.measure.device import mkl_lags
from whichtune.measure.flops import count_flops
from whichtune.measure.memory import saved_bytes
from whichtune.models import wide_products
from whichtune.models.backbone import LoadRequest
from whichtune.models.dequantizing import dequantized
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import FourBitLinear, Quantization
from whichtune.models.wide_products import can_widen, project, widen_products
from whichtune.spec.backbones import PairBackbone, RandomBackbone
from whichtune.spec.engine import PLAIN, EngineSpec
from whichtune.spec.methods import MethodSpec
from whichtune.study import sharing

pytestmark = pytest.mark.skipif(not can_widen(), reason="this build of torch has no oneDNN")
FAMILIES = ("bert", "roberta", "deberta-v2", "albert", "modernbert", "gpt2", "gpt", "llama", "phi", "opt", "gemma2")
METHODS = {
    "lora": {"kind": "lora", "targets": ["all-linear"], "learning_rate": 1e-2},
    "full": {"kind": "full", "learning_rate": 1e-3},
    "last": {"kind": "last-layers", "learning_rate": 1e-3},
    "ia3": {"kind": "peft", "tuner": "ia3", "learning_rate": 1e-2},
    "adalora": {"kind": "peft", "tuner": "adalora", "config": {"init_r": 4, "target_r": 2}, "learning_rate": 1e-2},
    "checkpoints": {"kind": "full", "learning_rate": 1e-3, "training": {"gradient_checkpointing": True}},
    "prompt": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 1e-1, "head_learning_rate": 1e-2},
}
CPUINFO = "processor\t: 0\nvendor_id\t: {}\nmodel name\t: a processor\n"


def parse(method):
    return TypeAdapter(MethodSpec).validate_python(method)


@pytest.fixture
def always(monkeypatch):
    """However small a product is."""
    monkeypatch.setattr(wide_products, "LEAST_MULTIPLICATIONS", 1)


@pytest.fixture
def counted(monkeypatch, always):
    """Products that were oneDNN's."""
    seen, own = [], wide_products._multiply

    def note(rows, weight, bias):
        seen.append((tuple(rows.shape), tuple(weight.shape)))
        return own(rows, weight, bias)

    monkeypatch.setattr(wide_products, "_multiply", note)
    return seen


def load(family, *, widen, **ways):
    ways = {"unpad": True, "narrow": True, **ways}
    backbone = load_backbone(RandomBackbone(kind="random", family=family), LoadRequest(widen=widen, **ways))
    for module in backbone.trunk.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name in ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"):
        if hasattr(backbone.trunk.config, name):
            setattr(backbone.trunk.config, name, 0.0)
    return backbone


@pytest.mark.parametrize("shape", [(7, 12), (3, 5, 12), (2, 3, 4, 12)])
@pytest.mark.parametrize("trained", ["rows", "weight", "bias", "all", "none"])
@pytest.mark.parametrize("biased", [True, False])
def test_products_and_gradients_are_those_of_a_linear_map(counted, shape, trained, biased):
    draw = torch.Generator().manual_seed(0)
    wants = {"rows", "weight", "bias"} if trained == "all" else {trained}

    def make():
        draw.manual_seed(1)
        given = {name: torch.randn(size, generator=draw) for name, size in (("rows", shape), ("weight", (9, 12)))}
        given["bias"] = torch.randn(9, generator=draw) if biased else None
        for name in wants - {"none"}:
            if given[name] is not None:
                given[name].requires_grad_()
        return given

    ours, plain = make(), make()
    made, expected = project(**ours), nn.functional.linear(plain["rows"], plain["weight"], plain["bias"])
    assert counted
    assert torch.allclose(made, expected, atol=1e-5)
    assert made.requires_grad == expected.requires_grad
    made += 1  # as some tuners write into what a map made
    expected += 1
    if made.requires_grad:
        for one in (made, expected):
            one.square().sum().backward()
    for name, tensor in ours.items():
        other = None if tensor is None else plain[name].grad
        assert (tensor is None or tensor.grad is None) == (other is None), name
        assert other is None or torch.allclose(tensor.grad, other, atol=1e-3, rtol=1e-4), name


def test_gradients_that_come_with_strides_are_read_right(always):
    rows, weight = torch.randn(6, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    turned = torch.randn(5, 6)
    made = (run(rows, weight) for run in (project, nn.functional.linear))
    found = [torch.autograd.grad((one.t() * turned).sum(), (rows, weight)) for one in made]
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*found, strict=True))


def test_one_row_in_the_place_of_many_is_read_right(always):
    one, weight = torch.randn(1, 8), torch.randn(5, 8, requires_grad=True)
    rows = one.expand(6, 8)
    found = [torch.autograd.grad(run(rows, weight).sum(), weight)[0] for run in (project, nn.functional.linear)]
    assert torch.allclose(*found, atol=1e-5)
    assert torch.allclose(project(weight.detach(), rows), nn.functional.linear(weight.detach(), rows), atol=1e-5)


def test_a_copy_multiplies_with_its_own_weights(counted):
    trunk = nn.Sequential(nn.Linear(6, 4))
    widen_products(trunk)
    twin, rows = copy.deepcopy(trunk), torch.randn(3, 6)
    with torch.no_grad():
        trunk[0].weight.zero_()
    counted.clear()
    assert not torch.allclose(twin(rows), trunk(rows))
    assert len(counted) == 2


@pytest.mark.parametrize("trains", [True, False])
def test_no_more_is_kept_than_by_a_linear_map(always, trains):
    weight, rows = torch.randn(9, 12, requires_grad=trains), torch.randn(7, 12)
    first = torch.randn(12, 12, requires_grad=True)
    kept = []
    for run in (project, nn.functional.linear):
        with saved_bytes([weight, first]) as count:
            run(nn.functional.linear(rows, first), weight)
        kept.append(count.reading.value)
    assert kept[0] == kept[1]


def test_what_is_small_lowered_or_of_another_type_is_multiplied_as_ever(counted, monkeypatch):
    rows, weight = torch.randn(4, 8), torch.randn(5, 8)
    project(rows.double(), weight.double())
    project(rows.bfloat16(), weight.bfloat16())
    project(rows.to("meta"), weight.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert project(rows, weight).dtype == torch.bfloat16
    monkeypatch.setattr(wide_products, "LEAST_MULTIPLICATIONS", 4 * 8 * 5 + 1)
    project(rows, weight)
    assert not counted
    monkeypatch.setattr(wide_products, "LEAST_MULTIPLICATIONS", 4 * 8 * 5)
    project(rows, weight)
    assert counted == [((4, 8), (5, 8))]


def test_maps_of_both_layouts_are_widened_and_wrapped_ones_left_alone(counted):
    draw = torch.randn(3, 6)
    trunk = nn.ModuleDict({"plain": nn.Linear(6, 4), "turned": Conv1D(4, 6), "own": nn.Linear(6, 4)})
    expected = [trunk["plain"](draw), trunk["turned"](draw)]
    trunk["own"].forward = lambda rows: rows
    assert widen_products(trunk)
    made = [trunk["plain"](draw), trunk["turned"](draw)]
    assert all(torch.allclose(*one, atol=1e-6) for one in zip(made, expected, strict=True))
    assert len(counted) == 3 + 2, "three to see that it can, two of the maps"
    assert trunk["own"](draw) is draw
    with torch.no_grad():
        trunk["plain"].weight.data = torch.zeros(4, 6)  # as merging puts another in its place
    assert torch.allclose(trunk["plain"](draw), trunk["plain"].bias.expand(3, 4))


def test_without_the_operation_or_with_wrong_results_nothing_is_widened(monkeypatch):
    trunk = nn.Linear(6, 4)

    def fail(*_):
        raise RuntimeError("no such operation")

    for broken in (lambda *_: torch.zeros(48, 128), lambda *_: torch.zeros(2), fail):
        monkeypatch.setattr(wide_products, "_multiply", broken)
        assert not widen_products(trunk)
    assert "forward" not in vars(trunk)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_widen()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_trainings_lose_the_same(counted, tiny_trial, family, name):
    """Losses of 20 steps within 1e-5, and gradients of the first that point the same way."""
    found = []
    for widen in (False, True):
        backbone = load(family, widen=widen)
        assert backbone.widened is widen
        method = METHODS[name]
        if family == "gpt2" and method["kind"] == "peft":
            method = method | {"config": method.get("config", {}) | {"fan_in_fan_out": True}}
        trial = tiny_trial(backbone, parse(method), head_dropout=0.0)
        run, losses = trial.prepare(), []
        with run.assembly.fitting():
            losses.append(accumulate(run))
        first = [one.grad.flatten().clone() for one in run.assembly.attachment.trained.values() if one.grad is not None]
        run.optimizer.zero_grad()
        run.listeners = [Losses(losses)]
        run.total_steps, run.keeper.every, run.keeper.last = 21, 10**9, 10**9
        counted.clear()
        for _ in range(20):
            advance(run)
        assert len(counted) > 20 if widen else not counted
        found.append((losses, torch.cat(first)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert torch.cosine_similarity(found[0][1], found[1][1], dim=0) > 1 - 1e-6


class Losses:
    def __init__(self, losses):
        self.losses = losses

    def on_step(self, figures, total):
        self.losses.append(figures.loss)

    def on_validation(self, step, score, metrics):
        pass


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_predictions_merged_and_unmerged_are_the_same(counted, tiny_trial, family):
    tables = []
    for widen in (False, True):
        trial = tiny_trial(load(family, widen=widen), parse(METHODS["lora"]), head_dropout=0.0)
        counted.clear()
        tables.append(trial.run().predictions[-1])
        assert bool(counted) is widen
        given = (trial.material.task, "test", trial.rows("test"), 8, Arithmetic("float32", torch.device("cpu")))
        with trial.assembly.predicting(merge=False):
            tables.append(answer_rows(trial.assembly, *given))
    for table in tables[1:]:
        assert table.parsed == tables[0].parsed
        assert np.allclose(table.probabilities, tables[0].probabilities, atol=1e-4)


def test_scores_of_tokens_are_widened_too(counted):
    wide, plain = (load("llama", widen=widen) for widen in (True, False))
    hidden = torch.randn(3, wide.hidden, generator=torch.Generator().manual_seed(0))
    counted.clear()
    scores = [one.output(hidden, one.trunk.get_input_embeddings().weight) for one in (wide, plain)]
    assert len(counted) == 1
    assert torch.allclose(*scores, atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_trunks_of_images_give_the_same_rows(counted, family):
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = []
    for widen in (True, False):
        request = LoadRequest(reads="image", widen=widen)
        trunk = load_backbone(RandomBackbone(kind="random", family=family), request).trunk.eval()
        rows.append(trunk(pixel_values=pixels).last_hidden_state)
    assert counted
    assert torch.allclose(*rows, atol=1e-5)


def test_operations_are_counted(always):
    rows, weight = torch.randn(7, 12), torch.randn(9, 12, requires_grad=True)
    wide, plain = (
        count_flops(lambda run=run: run(rows, weight), lambda made: made.sum().backward())
        for run in (project, nn.functional.linear)
    )
    assert (wide.forward, wide.backward) == (plain.forward, plain.backward) == (2 * 7 * 9 * 12, 2 * 7 * 9 * 12)


@pytest.mark.parametrize(
    "maker, capability, lags",
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        (None, "AVX512", False),
    ],
)
def test_where_mkl_lags(tmp_path, monkeypatch, maker, capability, lags):
    path = tmp_path / "cpuinfo"
    path.write_text("" if maker is None else CPUINFO.format(maker))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    device = torch.device("cpu")
    assert mkl_lags(device, path) is lags
    assert mkl_lags(device, tmp_path / "none") is False
    assert mkl_lags(torch.device("cuda"), path) is False
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert mkl_lags(device, path) is False


def test_it_is_asked_for_where_mkl_lags_and_the_study_lets_it(monkeypatch):
    method, study = (
        parse({"kind": "lora"}),
        MagicMock(execution=MagicMock(attention="sdpa"), task=MagicMock(reads="text")),
    )
    assert request_load(method, "sdpa", engine=PLAIN).widen is False
    for lags in (True, False):
        monkeypatch.setattr(sharing, "mkl_lags", lambda device, lags=lags: lags)
        for engine, wants in ((EngineSpec(), lags), (EngineSpec(onednn=False), False)):
            study.engine = engine
            assert sharing.Shared(study, None, None, torch.device("cpu"), None).request(method).widen is wants


def test_what_is_kept_of_one_way_is_not_given_to_the_other(tiny_trial, tmp_path):
    backbone = load("bert", widen=True)
    encoded = tiny_trial(backbone, parse(METHODS["last"])).material.encoded["train"]
    keeping = Keeping(tmp_path, 10**8, 8, "float32")
    ways = (backbone, replace(backbone, widened=False))
    assert len({key_prefix(one, encoded, 1, keeping) for one in ways}) == 2
    assert len({key_embeddings(one, encoded, How(0)) for one in ways}) == 2


def test_four_bit_weights_that_are_unpacked_are_multiplied_as_the_others_are(counted):
    quantization = Quantization(compute="float32")
    backbone = load("llama", widen=True, quantization=quantization)
    rows = torch.randn(5, backbone.hidden, generator=torch.Generator().manual_seed(0))
    path = next(name for name, one in backbone.trunk.named_modules() if isinstance(one, FourBitLinear))
    plain = backbone.trunk.get_submodule(path)(rows)
    for widen in (True, False):
        counted.clear()
        with dequantized(backbone.trunk, 10**9, widen=widen):
            counted.clear()
            assert torch.allclose(backbone.trunk.get_submodule(path)(rows), plain, atol=1e-5)
            assert bool(counted) is widen


def test_encoders_of_a_pair_are_both_widened():
    for widen in (True, False):
        image, text = (RandomBackbone(kind="random", family=family) for family in ("vit", "bert"))
        spec = PairBackbone(kind="pair", image=image, text=text)
        assert load_backbone(spec, LoadRequest(reads="pair", widen=widen)).widened is widen
