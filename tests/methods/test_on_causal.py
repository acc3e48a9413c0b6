"""Methods on causal trunks: the head reads the last real row by the layout, and fused or gated maps are adapted."""

import copy

import numpy as np
import peft
import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from whichtune.engine.optimizing import build_optimizer
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import count_assembly
from whichtune.layers.heads import ClassHead, HeadRequest
from whichtune.models.batch import collate
from whichtune.models.generate import Sampling, embed_tokens, generate
from whichtune.models.layout import layout_of
from whichtune.spec.methods import LoraSpec, MethodSpec
from whichtune.spec.training import TrainingSpec

FAMILIES = ("gpt", "gpt2", "llama")
METHODS = {
    "full": {"kind": "full", "learning_rate": 3e-3},
    "last-layers": {"kind": "last-layers", "learning_rate": 5e-3, "final_norm": True},
    "frozen-features": {"kind": "frozen-features", "learning_rate": 3e-2},
    "lora": {"kind": "lora", "learning_rate": 1e-2, "targets": ["query", "value"]},
    "lora everywhere": {"kind": "lora", "learning_rate": 1e-2, "targets": ["all-linear"]},
    "prompt-tuning": {"kind": "prompt-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2},
    "prompt-tuning, deep": {"kind": "prompt-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2, "deep": True},
    "p-tuning": {"kind": "p-tuning", "virtual_tokens": 4, "head_learning_rate": 3e-2},
    "p-tuning, deep": {
        "kind": "p-tuning",
        "virtual_tokens": 4,
        "head_learning_rate": 3e-2,
        "encoder": "none",
        "deep": True,
        "initialise": "vocabulary",
    },
}
CELLS = [(method, family) for method in METHODS for family in FAMILIES]


def spec_of(method):
    return TypeAdapter(MethodSpec).validate_python(METHODS[method])


def logits_of(trial, rows, side="right"):
    with trial.assembly.predicting(merge=False):
        return trial.assembly(collate(trial.material.encoded["train"], rows, side=side))


def loss_of(trial):
    encoded = trial.material.encoded["train"]
    batch = collate(encoded, range(len(encoded)))
    with trial.assembly.predicting(merge=False):
        total, count = trial.material.task.loss(trial.assembly(batch), batch.targets)
    return float(total) / count


@pytest.mark.parametrize("method, family", CELLS)
def test_a_method_learns_counts_right_and_gives_the_trunk_back(method, family, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    trial = tiny_trial(backbone, spec_of(method), epochs=6)
    attachment = trial.assembly.attachment
    start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
    counts, _ = count_assembly(trial.assembly)
    assert counts.trainable_theory == counts.trainable
    loss = loss_of(trial)
    trial.run()
    assert loss_of(trial) < loss - 0.02
    assert {name for name, tensor in attachment.trained.items() if not torch.equal(tensor, start[name])} == set(start)
    alone = torch.cat([logits_of(trial, [row]) for row in range(8)])
    for side in ("right", "left"):
        assert distance(logits_of(trial, range(8), side), alone) <= TOLERANCES["float32"], side
    attachment.detach()
    after = backbone.trunk.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_adapters_say_what_unmerged_ones_do(family, tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(family), spec_of("lora everywhere"), epochs=2)
    trial.run()
    batch = collate(trial.material.encoded["train"], range(8))
    with trial.assembly.predicting() as merged:
        assert merged
        one = trial.assembly(batch)
    assert distance(one, logits_of(trial, range(8))) <= TOLERANCES["float32"]
    trial.assembly.attachment.detach()


@pytest.mark.parametrize("family, words", [("gpt", 6), ("gpt2", 6), ("llama", 7)])
def test_all_linear_is_every_linear_map_of_a_block(family, words, tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(family), spec_of("lora everywhere"))
    banks = len(trial.assembly.attachment.matched)
    adapters = sum(name.endswith(".down") for name in trial.assembly.attachment.trained)
    assert adapters == 2 * words
    assert banks == 2 * (4 if family == "gpt2" else words)
    trial.assembly.attachment.detach()


def ten_steps(trial, peer, paired, pool):
    """Step both models ten times on the same batches; return how far logits and tensors came apart."""
    training = TrainingSpec(weight_decay=0.01)
    trained = trial.assembly.attachment.trained
    optimizers = [build_optimizer(tensors, 1e-2, training) for tensors in (trained, paired)]
    encoded, away = trial.material.encoded["train"], []
    for step in range(10):
        batch = collate(encoded, range(3 * (step % 8), 3 * (step % 8) + 3))
        with trial.assembly.fitting():
            ours = trial.assembly(batch)
        theirs = pool(peer, batch)
        away.append(float((ours - theirs).detach().abs().max()))
        for logits, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(logits, batch.targets).backward()
            optimizer.step()
    away += [float((tensor - paired[name]).detach().abs().max()) for name, tensor in trained.items()]
    return max(away)


def wrap_peer(trial, family, targets, tiny_backbone):
    """A fresh trunk of the same weights in PEFT's hands, a head of the same values, and the tensors by our names."""
    spec = trial.assembly.attachment
    twin = tiny_backbone(family, **DRY[family])
    config = peft.LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets, fan_in_fan_out=family == "gpt2"
    )
    model = peft.inject_adapter_in_model(config, twin.trunk)
    head = torch.nn.Linear(32, 2)
    head.load_state_dict(trial.assembly.head.out.state_dict())
    theirs = dict(model.named_parameters())
    paired = {}
    for name, tensor in spec.trained.items():
        if name.startswith("head."):
            paired[name] = dict(head.named_parameters())[name.removeprefix("head.out.")]
            continue
        path, _, side = name.removeprefix("added.").rpartition(".")
        paired[name] = theirs[f"{path}.lora_{'A' if side == 'down' else 'B'}.default.weight"]
        with torch.no_grad():
            paired[name].copy_(tensor)

    def pool(model, batch):
        hidden = model(
            input_ids=batch.ids, attention_mask=batch.layout.real.long(), position_ids=batch.layout.positions
        ).last_hidden_state
        return head(hidden[torch.arange(len(hidden)), batch.layout.last])

    return model.eval(), paired, pool


DRY = {
    "gpt": {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt2": {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0},
}


@pytest.mark.parametrize(
    "family, ours, theirs",
    [
        ("gpt", ("query", "key", "value", "output"), ["query", "key", "value", "output"]),
        ("gpt2", ("c_attn",), ["c_attn"]),
        ("gpt2", ("c_attn", "attn.c_proj"), ["c_attn", "attn.c_proj"]),
    ],
)
def test_ten_steps_equal_peft_on_separate_and_on_fused_maps(family, ours, theirs, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family, **DRY[family])
    method = LoraSpec(kind="lora", rank=4, alpha=8, dropout=0.0, targets=ours, learning_rate=1e-2)
    trial = tiny_trial(backbone, method, head_dropout=0.0)
    assert ten_steps(trial, *wrap_peer(trial, family, theirs, tiny_backbone)) < 1e-6


TEXTS = ["a fine film", "dull", "x" * 30, "nothing at all happens, twice"]
LIBRARYS = ("gemma", "gemma2", "gpt2", "llama", "mistral", "opt", "phi", "qwen2", "qwen3")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", LIBRARYS)
def test_the_head_on_the_last_real_row_is_the_librarys_classifier_on_each_text_alone(family, side, tiny_backbone):
    """Theirs finds the last row by pad ids, so it is asked without padding."""
    backbone = tiny_backbone(family)
    config = copy.deepcopy(backbone.trunk.config)
    config.num_labels = 3
    own = AutoModelForSequenceClassification.from_config(
        config, attn_implementation=backbone.trunk.config._attn_implementation
    ).eval()
    own.base_model.load_state_dict(backbone.trunk.state_dict())
    head = ClassHead(backbone.anatomy.head, backbone.hidden, HeadRequest(3), 0.1).eval()
    with torch.no_grad():
        head.out.bias.zero_()
        head.out.weight.copy_(own.score.weight)
        encoded = backbone.encoder.encode(TEXTS, np.zeros(len(TEXTS)), 64)
        batch = collate(encoded, range(len(TEXTS)), side=side)
        logits = head(backbone.pool(backbone.run(backbone.embed(batch), batch.layout), batch.layout))
        rows = [torch.from_numpy(encoded.row(row).astype(np.int64))[None] for row in range(len(TEXTS))]
        expected = torch.cat([own(input_ids=ids).logits for ids in rows])
    assert float((logits - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning, deep", "lora everywhere"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tuned_model_writes_in_a_batch_what_it_writes_for_each_text_alone(family, method, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family)
    trial = tiny_trial(backbone, spec_of(method), epochs=2)
    plain = [one.tokens for one in write(trial, range(4), tuned=False)]
    trial.run()
    alone = [write(trial, [row])[0].tokens for row in range(4)]
    assert [one.tokens for one in write(trial, range(4))] == alone != plain
    trial.assembly.attachment.detach()


def write(trial, rows, *, tuned=True):
    assembly = trial.assembly
    batch = collate(trial.material.encoded["train"], rows, side="left")
    with assembly.predicting(merge=False):
        embedded, layout = assembly.backbone.embed(batch), batch.layout
        inputs = assembly.attachment.inputs(embedded, layout) if tuned else (embedded, layout)
        return generate(assembly.backbone, *inputs, Sampling(8))


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_rows_that_start_from_a_phrase_are_the_rows_of_its_tokens(family, tiny_backbone, tiny_trial):
    """Gemma scales its token rows when it looks them up; a phrase in front must not be fainter than a text."""
    backbone = tiny_backbone(family)
    method = {"kind": "prompt-tuning", "virtual_tokens": 3, "initialise": "phrase", "phrase": "abc"}
    trial = tiny_trial(backbone, TypeAdapter(MethodSpec).validate_python(method))
    ids = torch.tensor([backbone.encoder.tokenizer.encode("abc", add_special_tokens=False).ids])
    layout = layout_of(torch.tensor([1]))
    rows, _ = trial.assembly.attachment.inputs(torch.zeros(1, 1, 32), layout)
    assert torch.allclose(rows[:, :3], embed_tokens(backbone, ids))
    trial.assembly.attachment.detach()
