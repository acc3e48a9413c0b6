import copy
import math
import sys

import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional

from whichtune.engine.build import build_assembly, request_load
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import count_assembly
from whichtune.errors import UnsupportedError
from whichtune.layers.heads import HeadRequest
from whichtune.layers.lora import LoraBank
from whichtune.measure.flops import count_flops
from whichtune.methods import TUNERS
from whichtune.methods.lora import Lora
from whichtune.methods.qlora import merge_dequantized
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import FourBitLinear, Quantization, find_projections
from whichtune.spec.backbones import RandomBackbone, SmolLM2Backbone
from whichtune.spec.methods import LoraSpec, MethodSpec, QloraSpec
from whichtune.spec.seeds import Streams

FAMILIES = ("llama", "gpt2", "gpt", "modernbert", "albert")


def make_spec(**settings):
    return TypeAdapter(MethodSpec).validate_python({"kind": "qlora", "learning_rate": 1e-2, "dropout": 0.0} | settings)


def load(family, spec=None):
    backbone = RandomBackbone(kind="random", family=family, config={"initializer_range": 0.2})
    return load_backbone(backbone, LoadRequest() if spec is None else request_load(spec, "sdpa"))


def dequantize(backbone):
    """Return a copy whose packed projections are plain linear maps of the same numbers."""
    twin = copy.deepcopy(backbone)
    for path, module in list(find_projections(twin.trunk, twin.anatomy)):
        parent, _, name = path.rpartition(".")
        setattr(twin.trunk.get_submodule(parent), name, module.dequantize())
    return twin


def build(backbone, spec, seed=1):
    return build_assembly(backbone, spec, HeadRequest(2), 0.0, Streams(seed, 0))


def batch_of(backbone, count=6):
    texts = ["a text of some length", "b", "another one, longer than others", "four", "a b c", "the last of them"]
    encoded = backbone.encoder.encode(texts[:count], torch.arange(count).remainder(2).numpy(), 24)
    return collate(encoded, range(count))


def train(assembly, steps=10):
    """Take plain steps on one batch; return the losses."""
    batch = batch_of(assembly.backbone)
    optimizer = torch.optim.AdamW(assembly.attachment.trained.values(), lr=1e-2)
    losses = []
    for _ in range(steps):
        with assembly.fitting():
            loss = functional.cross_entropy(assembly(batch), batch.targets)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def logits_of(assembly):
    with assembly.predicting(merge=False):
        return assembly(batch_of(assembly.backbone))


def test_the_load_is_what_the_settings_say():
    spec = make_spec(double_quantization=False, compute="bfloat16")
    assert request_load(spec, "eager") == LoadRequest(
        attention="eager", quantization=Quantization("nf4", double=False, compute="bfloat16")
    )
    assert QloraSpec(kind="qlora").targets == ("all-linear",)
    assert request_load(LoraSpec(kind="lora"), "sdpa").quantization is None


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_lora_over_the_dequantized_weights(family):
    spec = make_spec(rank=4)
    four = load(family, spec)
    twin = dequantize(four)
    packed = build(four, spec)
    plain = LoraSpec(**spec.model_dump(exclude={"kind", "double_quantization", "compute"}), kind="lora")
    other = build(twin, plain)
    with torch.no_grad():
        ups = ((path, bank.slots[0]) for path, bank in four.trunk.named_modules() if isinstance(bank, LoraBank))
        for path, adapters in ups:
            for mine, theirs in zip(adapters, twin.trunk.get_submodule(path).slots[0], strict=True):
                mine.up.normal_(0, 0.3, generator=torch.Generator().manual_seed(3))
                theirs.up.copy_(mine.up)
                assert mine.down.equal(theirs.down)
    assert distance(logits_of(packed), logits_of(other)) <= TOLERANCES["nf4"]
    losses = train(packed), train(other)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_steps_move_the_adapters_alone_and_detaching_gives_the_bits_back(family):
    spec = make_spec(rank=4)
    backbone = load(family, spec)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    modules = dict(find_projections(backbone.trunk, backbone.anatomy))
    assembly = build(backbone, spec)
    attachment = assembly.attachment
    start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
    losses = train(assembly)
    assert losses[-1] < losses[0]
    assert all(not torch.equal(tensor, start[name]) for name, tensor in attachment.trained.items())
    assert all(name.startswith(("added.", "head.")) for name in attachment.saved)
    assert all(tensor.is_floating_point() for tensor in attachment.saved.values())
    attachment.detach()
    after = backbone.trunk.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert dict(find_projections(backbone.trunk, backbone.anatomy)) == modules


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_those_of_the_plain_model(family):
    spec = make_spec(rank=4)
    four, _ = count_assembly(build(load(family, spec), spec))
    plain, _ = count_assembly(build(load(family), LoraSpec(kind="lora", rank=4, targets=("all-linear",))))
    assert four == plain
    assert four.trainable == four.trainable_theory


def test_biases_train_beside_packed_weights():
    spec = make_spec(bias="lora-only", rank=2)
    backbone = load("bert", spec)
    assembly = build(backbone, spec)
    biases = [name for name in assembly.attachment.trained if name.startswith("trunk.")]
    assert biases
    start = {name: assembly.attachment.trained[name].detach().clone() for name in biases}
    train(assembly, 3)
    assert all(not torch.equal(assembly.attachment.trained[name], start[name]) for name in biases)


def test_it_is_evaluated_unmerged_and_says_why():
    spec = make_spec()
    attachment = build(load("llama", spec), spec).attachment
    assert attachment.merge is None
    assert attachment.unmerge is None
    assert "lost to rounding" in attachment.merge_reason


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt"])
def test_merging_goes_through_dequantized_weights_and_comes_back(family):
    spec = make_spec(rank=4, targets=["query", "value"])
    backbone = load(family, spec)
    assembly = build(backbone, spec)
    train(assembly)
    unmerged = logits_of(assembly)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    restore = merge_dequantized(backbone)
    assert not any(isinstance(module, FourBitLinear | LoraBank) for module in backbone.trunk.modules())
    assert distance(logits_of(assembly), unmerged) <= TOLERANCES["nf4"]
    restore()
    after = backbone.trunk.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert torch.equal(logits_of(assembly), unmerged)


def test_merging_into_four_bits_again_would_lose_what_was_learned():
    spec = make_spec(rank=4)
    backbone = load("llama", spec)
    assembly = build(backbone, spec)
    base = logits_of(assembly)
    with torch.no_grad():
        for name, tensor in assembly.attachment.trained.items():
            if name.endswith(".up"):  # a change far below the distance of two levels, as training makes it
                tensor.normal_(0, 1e-3, generator=torch.Generator().manual_seed(1))
    unmerged = logits_of(assembly)
    merge_dequantized(backbone)
    moved, exact = distance(unmerged, base), distance(logits_of(assembly), unmerged)
    for path, module in list(find_projections(backbone.trunk, backbone.anatomy)):
        parent, _, name = path.rpartition(".")
        packed = FourBitLinear(module.weight, module.bias, Quantization())
        setattr(backbone.trunk.get_submodule(parent), name, packed)
    lost = distance(logits_of(assembly), unmerged)
    assert moved > 10 * TOLERANCES["nf4"]
    assert exact <= TOLERANCES["nf4"]
    assert lost > moved / 2


def test_without_the_package_it_is_unsupported_and_others_go_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    spec = make_spec()
    backbone = load("bert", spec)
    with pytest.raises(UnsupportedError, match="four-bit weights need the package bitsandbytes: pip install"):
        build(backbone, spec)
    build(backbone, LoraSpec(kind="lora")).attachment.detach()


def test_a_trunk_that_was_loaded_plain_is_refused():
    with pytest.raises(UnsupportedError, match="loaded without quantization"):
        build(load("bert"), make_spec())


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_a_rank_above_the_width_is_told_and_runs(kind):
    spec = TypeAdapter(MethodSpec).validate_python({"kind": kind, "rank": 196, "alpha": 784, "targets": ["query"]})
    backbone = load_backbone(RandomBackbone(kind="random", family="llama"), request_load(spec, "sdpa"))
    assembly = build(backbone, spec)
    (note,) = assembly.attachment.notes
    assert note.startswith("rank 196 is above the width of 2 adapted projections (the narrowest: 32)")
    losses = train(assembly, 3)
    assert all(map(math.isfinite, losses))
    fitting = build(load("llama", make_spec()), make_spec(rank=16))
    assert fitting.attachment.notes == ()


def test_a_blank_trunk_is_counted_without_the_package(monkeypatch):
    from whichtune.models.blank import build_blank, find_config

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    config, origin = find_config("bert-base-uncased")
    blank = build_blank(config, origin)
    counts = count_assembly(build(blank, make_spec(targets=["query", "value"])))[0]
    assert counts.trunk == 109_482_240
    assert counts.added == 12 * 2 * 8 * (768 + 768)


def test_the_builder_needs_what_lora_needs_but_for_the_load():
    assert isinstance(TUNERS[LoraSpec], Lora)
    assert type(TUNERS[QloraSpec]).__name__ == "Qlora"


@pytest.mark.weights
def test_smollm2_in_four_bits_is_lora_over_its_dequantized_weights():
    spec = make_spec(targets=["query", "value"])
    four = load_backbone(SmolLM2Backbone(kind="smollm2", keep_blocks=4), request_load(spec, "sdpa"))
    assembly = build(four, spec)
    losses = train(assembly, 3)
    assert losses[-1] < losses[0]
    unmerged = logits_of(assembly)
    restore = merge_dequantized(four)
    assert distance(logits_of(assembly), unmerged) <= TOLERANCES["nf4"]
    restore()


def test_its_products_count_as_those_of_lora_over_plain_weights():
    spec = make_spec(rank=4)
    plain = LoraSpec(kind="lora", rank=4, targets=("all-linear",), dropout=0.0)
    counts = []
    for method in (spec, plain):
        assembly = build(load("llama", method), method)
        batch = batch_of(assembly.backbone)

        def forward(assembly=assembly, batch=batch):
            return functional.cross_entropy(assembly(batch), batch.targets)

        with assembly.fitting():
            counts.append(count_flops(forward, torch.Tensor.backward))
    assert counts[0] == counts[1]
    assert counts[0].forward > 0


def test_blocks_that_run_again_give_the_same_gradients():
    spec = make_spec(rank=4, dropout=0.1)
    found = []
    for again in (False, True):
        assembly = build(load("llama", spec), spec)
        assembly.checkpoints = again
        train(assembly, 2)
        found.append({name: tensor.detach().clone() for name, tensor in assembly.attachment.trained.items()})
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


@pytest.mark.parametrize("dtype, compute", [("float32", "bfloat16"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")])
def test_weights_and_products_in_half_precision_train(dtype, compute):
    spec = make_spec(rank=4, compute=compute)
    kind = RandomBackbone(kind="random", family="gpt2", dtype=dtype, config={"initializer_range": 0.2})
    assembly = build(load_backbone(kind, request_load(spec, "sdpa")), spec)
    assert all(tensor.dtype == torch.float32 for tensor in assembly.attachment.trained.values())
    unmerged = logits_of(assembly)
    losses = train(assembly)
    assert losses[-1] < losses[0]
    assert not torch.equal(logits_of(assembly), unmerged)
