"""What is made again in the backward pass is what was left out, bit for bit (T0), and less is kept."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from whichtune.engine import assembly
from whichtune.engine import sparing as engine_sparing
from whichtune.engine.fit import accumulate, advance
from whichtune.engine.gauging import list_states
from whichtune.engine.sparing import sparing
from whichtune.errors import TrialError
from whichtune.measure.memory import saved_bytes, weak_storage
from whichtune.measure.modes import modes
from whichtune.models.backbone import LoadRequest
from whichtune.models.load import load_backbone
from whichtune.models.quantizing import Quantization
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.methods import MethodSpec

WIDE = {"kind": "lora", "targets": ["all-linear"], "dropout": 0.2, "learning_rate": 1e-2}
METHODS = {
    "lora": {"kind": "lora", "dropout": 0.2, "learning_rate": 1e-2},
    "lora everywhere": WIDE,
    "full": {"kind": "full", "learning_rate": 1e-3},
    "norms": {"kind": "peft", "tuner": "ln_tuning", "learning_rate": 1e-2},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "learning_rate": 1e-1, "head_learning_rate": 1e-2},
}
FAMILIES = ("bert", "roberta", "deberta-v2", "albert", "modernbert", "gpt2", "gpt", "llama", "phi", "opt", "gemma2")


def parse(method):
    return TypeAdapter(MethodSpec).validate_python(method)


def take_steps(trial, steps=4):
    """Return the gradients of each step, and the tensors that trained after the last."""
    run, found = trial.prepare(), []
    for _ in range(steps):
        with run.assembly.fitting():
            accumulate(run)
        found += [None if one.grad is None else one.grad.clone() for one in run.assembly.attachment.trained.values()]
        run.optimizer.zero_grad()
        advance(run)
    return [*found, *(one.detach().clone() for one in run.assembly.attachment.trained.values())]


def same(left, right):
    return (left is None and right is None) or torch.equal(left, right)


@pytest.fixture
def pair(tiny_backbone, monkeypatch):
    """Two loads of a family, of which one keeps everything and one keeps less, however few the rows are."""
    monkeypatch.setattr(engine_sparing, "LEAST_BYTES", 0)

    def make(family, **ways):
        return [replace(tiny_backbone(family), spares=spares, **ways) for spares in (False, True)]

    return make


def compare(make, backbones, method, **training):
    """Take the same steps on each."""
    return [take_steps(make(backbone, method, **training)) for backbone in backbones]


def count_kept(trial):
    run = trial.prepare()
    batch = next(run.batches)[0]
    run.key.advance()
    with run.assembly.fitting(), saved_bytes(list_states(run.assembly)) as kept:
        run.assembly(batch)
    return kept.reading.value


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_gradients_and_what_they_train_are_the_same_bits(pair, tiny_trial, family, name):
    whole, less = compare(tiny_trial, pair(family), parse(METHODS[name]))
    assert len(whole) == len(less) > 0
    assert all(same(*pair) for pair in zip(whole, less, strict=True))
    assert any(one is not None and one.abs().max() > 0 for one in whole)


@pytest.mark.parametrize("ways", [{"unpads": True}, {"unpads": True, "narrows": True}], ids=["packed", "narrow"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_rows_without_padding_are_made_again_too(pair, tiny_trial, family, ways):
    whole, less = compare(tiny_trial, pair(family, **ways), parse(WIDE))
    assert all(same(*pair) for pair in zip(whole, less, strict=True))


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_rows_of_mixed_precision_are_made_again_in_it(pair, tiny_trial, family):
    whole, less = compare(tiny_trial, pair(family), parse(WIDE), precision="bfloat16")
    assert all(same(*pair) for pair in zip(whole, less, strict=True))


@pytest.mark.parametrize("family", ["vit", "resnet", "dinov2", "efficientnet-lite0"])
def test_trunks_of_images_train_the_same(family):
    found = []
    for on in (False, True):
        trunk = load_backbone(RandomBackbone(kind="random", family=family), LoadRequest(reads="image"))
        pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        with modes((trunk.trunk,), trunk.trunk):
            torch.manual_seed(1)
            with sparing(trunk.blocks) if on else nullcontext():
                rows = trunk.trunk(pixel_values=pixels).last_hidden_state
            rows.square().mean().backward()
        found.append([one.grad for one in trunk.trunk.parameters() if one.grad is not None])
    assert len(found[0]) > 10
    assert all(same(*one) for one in zip(*found, strict=True))


def test_four_bit_trunks_train_the_same(tiny_trial, monkeypatch):
    monkeypatch.setattr(engine_sparing, "LEAST_BYTES", 0)
    backbones = []
    for spares in (False, True):
        spec = RandomBackbone(kind="random", family="llama", config={"initializer_range": 0.2})
        backbones.append(load_backbone(spec, LoadRequest(quantization=Quantization(), spare=spares)))
    assert [one.spares for one in backbones] == [False, True]
    whole, less = compare(tiny_trial, backbones, parse(WIDE | {"kind": "qlora"}))
    assert all(same(*one) for one in zip(whole, less, strict=True))


def test_answers_in_words_train_the_same(pair, language_trial):
    whole, less = compare(language_trial, pair("llama"), parse(WIDE))
    assert all(same(*pair) for pair in zip(whole, less, strict=True))


@pytest.mark.parametrize(("family", "most"), [("llama", 0.75), ("gemma2", 0.85), ("gpt2", 0.85), ("bert", 0.85)])
def test_less_is_kept(pair, tiny_trial, family, most):
    whole, less = (count_kept(tiny_trial(one, parse(WIDE | {"dropout": 0.0}))) for one in pair(family))
    assert less <= most * whole


def test_what_is_kept_of_a_gated_part_is_its_two_products_alone(pair, tiny_trial):
    """Of norm, activation and gate: no row of the norm's output, the activation's or their product."""
    backbones = pair("llama")
    trials = [tiny_trial(one, parse(WIDE | {"dropout": 0.0})) for one in backbones]
    cells = next(trials[0].prepare().batches)[0].ids.numel()
    config = backbones[0].trunk.config
    row = 2 * config.hidden_size + 2 * config.intermediate_size
    whole, less = map(count_kept, trials)
    # Nothing trains below the first norm, which keeps nothing; what it makes is kept.
    assert whole - less == 4 * cells * (config.num_hidden_layers * row - config.hidden_size)


def test_of_few_rows_everything_is_kept(pair, tiny_trial, monkeypatch):
    backbones = pair("llama")
    monkeypatch.undo()
    whole, same_again = (count_kept(tiny_trial(one, parse(WIDE))) for one in backbones)
    assert whole == same_again


def test_the_modules_are_given_back_as_they_were(tiny_backbone):
    blocks = tiny_backbone("llama").blocks

    def fail():
        with sparing(blocks):
            assert any(module._forward_hooks for module in blocks.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in blocks.modules())


def test_without_gradients_nothing_is_watched(pair, tiny_trial, monkeypatch):
    watched = []
    monkeypatch.setattr(assembly, "sparing", lambda blocks: watched.append(blocks) or nullcontext())
    trial = tiny_trial(pair("llama")[1], parse(WIDE))
    batch = next(trial.prepare().batches)[0]
    with torch.no_grad():
        trial.assembly(batch)
    with trial.assembly.predicting():
        trial.assembly(batch)
    assert not watched
    trial.assembly(batch)
    assert watched


class Gate(nn.Module):
    """A product of two that is multiplied with a weight; `between` may do something to what was made."""

    def __init__(self, between=None):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.act, self.between = nn.SiLU(), between

    def forward(self, rows):
        product = self.act(self.left(rows)) * self.right(rows)
        if self.between is not None:
            product = self.between(product)
        return self.out(product)


def gradients(gate, *, on, used=("left", "right", "out")):
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    with saved_bytes(gate.parameters()) as kept, sparing([gate]) if on else nullcontext():
        found = gate(rows)
    weights = [one for name in used for one in getattr(gate, name).parameters()]
    return torch.autograd.grad(found.square().sum(), weights), kept.reading.value


@pytest.mark.parametrize(
    "between",
    [
        lambda product: product.mul_(2.0),
        lambda product: product[:, [1, 0, 2, 3, 4, 5]],
        lambda product: product + 1,
        lambda product: product * 2.0,
        lambda product: product * product,
        lambda product: product.T.contiguous().T,
    ],
)
def test_what_is_no_longer_the_product_is_kept_as_it_is(between):
    plain, _ = gradients(Gate(between), on=False)
    spared, _ = gradients(Gate(between), on=True)
    assert all(map(torch.equal, plain, spared))


def test_a_module_that_keeps_its_output_keeps_it():
    class Kept(Gate):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

    (plain, whole), (spared, less) = (gradients(Kept(), on=on) for on in (False, True))
    assert all(map(torch.equal, plain, spared))
    assert whole - less == 5 * 6 * 4, "the product alone is made again: an activation that keeps its output has it"


def test_modules_that_others_watch_or_that_draw_are_left_alone():
    class Random(Gate):
        def __init__(self):
            super().__init__()
            self.act = nn.RReLU()

    with sparing([Random()]):
        pass
    watched, seen = Gate(), []
    watched.act.register_forward_hook(lambda *_: seen.append(1))
    gradients(watched, on=True)
    assert len(seen) == 1
    drawn = Random()
    torch.manual_seed(0)
    plain, _ = gradients(drawn, on=False)
    torch.manual_seed(0)
    assert all(map(torch.equal, plain, gradients(drawn, on=True)[0]))


@pytest.mark.parametrize("which", ["input", "factor", "weight"])
def test_what_was_changed_before_the_backward_pass_is_told(which):
    gate = Gate()
    gate.left, gate.act = nn.Identity(), nn.LayerNorm(6)
    moved, factor = (torch.randn(5, 6, requires_grad=True) * 1.0 for _ in range(2))
    gate.right = nn.Identity()
    gate.right.forward = lambda _: factor
    with sparing([gate]):
        found = gate(moved)
    with torch.no_grad():
        {"input": moved, "factor": factor, "weight": gate.act.weight}[which].mul_(2.0)
    with pytest.raises((TrialError, RuntimeError), match=r"in place|inplace"):
        found.sum().backward()


def test_a_module_that_is_given_more_than_rows_is_kept_as_it_is():
    class Scaled(nn.LayerNorm):
        def forward(self, rows, scale=1.0):
            return super().forward(rows) * scale

    class Norms(Gate):
        def __init__(self):
            super().__init__()
            self.act = Scaled(6)

        def forward(self, rows):
            return self.out(self.act(self.left(rows), scale=3.0))

    Scaled.__name__ = "ScaledNorm"
    gate = Norms()
    assert all(map(torch.equal, *(gradients(gate, on=on, used=("left", "act", "out"))[0] for on in (False, True))))


@pytest.mark.parametrize("backward", [True, False], ids=["with its backward pass", "without one"])
def test_nothing_of_a_pass_outlives_it(pair, backward):
    """An operation that keeps its own output must not hold itself: BERT's pooler runs, and nobody asks for it."""
    backbone = pair("bert")[1]
    ids = torch.randint(5, 20, (4, 16))
    held = []
    for _ in range(3):
        with sparing(backbone.blocks):
            rows = backbone.trunk(ids)
        held += [weak_storage(rows.pooler_output), weak_storage(rows.last_hidden_state)]
        if backward:
            rows.last_hidden_state.sum().backward()
        del rows
    assert all(one.expired() for one in held)
