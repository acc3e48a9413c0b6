"""Every tuner of PEFT that is said to run does: it fits, predicts, reloads, repeats, and gives the trunk back."""

import copy
import random

import numpy as np
import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import nn

from whichtune.engine.adapter import AdapterCard, load_adapter, save_adapter
from whichtune.engine.tolerances import TOLERANCES, distance
from whichtune.engine.trial import count_assembly
from whichtune.errors import InputError, UnsupportedError
from whichtune.methods.peft_hooks import weigh_factors
from whichtune.methods.peft_table import KNOWN
from whichtune.methods.peft_tuners import Peft, drawing
from whichtune.models.backbone import LoadRequest
from whichtune.models.batch import collate
from whichtune.models.load import load_backbone
from whichtune.spec.backbones import RandomBackbone
from whichtune.spec.peft import PeftSpec

RANK = {"r": 8}
CASES = {
    "lora": ("lora", {}),
    "lora, rank-stabilised": ("lora", {"use_rslora": True, "target_modules": ["all-linear"]}),
    "lora, dora": ("lora", {"use_dora": True, "lora_dropout": 0.1}),
    "lora, pissa": ("lora", {"init_lora_weights": "pissa"}),
    "lora, olora": ("lora", {"init_lora_weights": "olora"}),
    "lora, all biases": ("lora", {"bias": "all"}),
    "lora, biased": ("lora", {"lora_bias": True, "target_modules": ["attention"]}),
    "adalora": ("adalora", {"tfinal": 2, "deltaT": 2}),
    "adamss": ("adamss", {}),
    "beft": ("beft", {"target_modules": ["key", "value"]}),
    "boft": ("boft", {}),
    "c3a": ("c3a", {"block_size": 8}),
    "cartridge": ("cartridge", {"num_virtual_tokens": 4}),
    "deft": ("deft", {}),
    "delora": ("delora", {}),
    "fourierft": ("fourierft", {"n_frequency": 100}),
    "frod": ("frod", {}),
    "glora": ("glora", {}),
    "gralora": ("gralora", {}),
    "hira": ("hira", RANK),
    "hra": ("hra", {}),
    "ia3": ("ia3", {}),
    "lily": ("lily", RANK),
    "ln_tuning": ("ln_tuning", {}),
    "loha": ("loha", {}),
    "lokr": ("lokr", {}),
    "miss": ("miss", RANK),
    "oft": ("oft", {"oft_block_size": 8}),
    "osf": ("osf", {}),
    "p_tuning": ("p_tuning", {"num_virtual_tokens": 4}),
    "peanut": ("peanut", RANK),
    "prefix_tuning": ("prefix_tuning", {"num_virtual_tokens": 4}),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 4}),
    "psoft": ("psoft", RANK),
    "pvera": ("pvera", RANK),
    "randlora": ("randlora", RANK),
    "road": ("road", {"group_size": 8}),
    "shira": ("shira", {"r": 4}),
    "supertuning": ("supertuning", {}),
    "tinylora": ("tinylora", {}),
    "trainable_tokens": ("trainable_tokens", {"token_indices": list(range(60))}),
    "unilora": ("unilora", {}),
    "vblora": ("vblora", {"vector_length": 8, "num_vectors": 16}),
    "vera": ("vera", RANK),
    "waveft": ("waveft", {"n_frequency": 100}),
}
UNMERGED = {"cartridge", "lily", "p_tuning", "prefix_tuning", "prompt_tuning"}
INERT = {
    "lora, all biases": ["trunk.encoder.layer.0.attention.self.key.bias"],
    "lora, biased": ["added.encoder.layer.0.attention.self.key.lora_B.bias"],
    "beft": ["added.encoder.layer.0.attention.self.key.beft_bias"],
    "glora": [
        "added.encoder.layer.0.attention.self.query.glora_D.X",
        "added.encoder.layer.0.attention.self.value.glora_D.X",
    ],
}


def spec_of(case, **settings):
    tuner, config = CASES[case]
    return PeftSpec(**({"kind": "peft", "tuner": tuner, "config": config, "learning_rate": 1e-2} | settings))


def outputs_of(assembly, trial, merge=False):
    encoded = trial.material.encoded["train"]
    with assembly.predicting(merge=merge):
        return assembly(collate(encoded, range(len(encoded))))


def loss_of(trial):
    outputs = outputs_of(trial.assembly, trial)
    batch = collate(trial.material.encoded["train"], range(32))
    total, count = trial.material.task.loss(outputs, batch.targets)
    return float(total) / count


def picture(trunk):
    """Everything of a trunk that a tuner might leave changed."""
    modules = {name: (id(module), sorted(vars(module)), module.training) for name, module in trunk.named_modules()}
    tensors = {name: (id(one), one.data_ptr(), one.requires_grad, one.grad) for name, one in trunk.named_parameters()}
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in trunk.modules()]
    return modules, tensors, hooks


def card_of(trial):
    material = trial.material
    return AdapterCard(
        backbone=RandomBackbone(kind="random", family="bert"),
        weights=trial.assembly.backbone.fingerprint,
        method=trial.method,
        task=material.task.spec,
        labels=material.task.labels,
        outputs=2,
        head_dropout=0.1,
        max_length=24,
        seed=1,
        stream=0,
    )


@pytest.mark.parametrize("case", CASES)
def test_a_tuner_fits_merges_reloads_repeats_and_comes_off(case, tiny_backbone, tiny_trial, tmp_path):
    backbone = tiny_backbone("bert")
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    seen, size = picture(backbone.trunk), sum(one.numel() for one in backbone.trunk.parameters())
    trial = tiny_trial(backbone, spec_of(case), epochs=2)
    assembly, attachment = trial.assembly, trial.assembly.attachment
    initial = loss_of(trial)
    start = {name: tensor.detach().clone() for name, tensor in attachment.trained.items()}
    outcome = trial.run()
    assert loss_of(trial) < initial - 0.002
    assert all(not torch.equal(tensor, start[name]) for name, tensor in attachment.trained.items())
    assert list(attachment.inert)[: len(INERT.get(case, []))] == INERT.get(case, [])
    assert bool(attachment.inert) == (case in INERT)
    check_merging(case, assembly, trial)
    counts, _ = count_assembly(assembly)
    assert counts.trunk == size
    assert counts.trainable >= sum(one.numel() for one in attachment.trained.values())
    plain = outputs_of(assembly, trial)
    save_adapter(tmp_path, assembly, card_of(trial), trial.material.data.examples["validation"][:2])
    attachment.detach()
    after = backbone.trunk.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert picture(backbone.trunk) == seen
    reloaded = load_adapter(tmp_path, backbone)
    assert torch.equal(outputs_of(reloaded, trial), plain)
    reloaded.attachment.detach()
    again = tiny_trial(backbone, spec_of(case), epochs=2)
    same = again.run()
    again.assembly.attachment.detach()
    assert all(
        (one.probabilities == other.probabilities).all()
        for one, other in zip(outcome.predictions, same.predictions, strict=True)
    )


def check_merging(case, assembly, trial):
    attachment = assembly.attachment
    assert (attachment.merge is None) == (case in UNMERGED)
    if attachment.merge is None:
        assert attachment.merge_reason
        return
    plain = outputs_of(assembly, trial)
    merged = outputs_of(assembly, trial, merge=True)
    assert distance(merged, plain) < TOLERANCES["float32"]
    assert torch.equal(outputs_of(assembly, trial), plain)


def test_every_tuner_that_runs_is_among_the_cases():
    assert {tuner for tuner, _ in CASES.values()} == {name for name, notes in KNOWN.items() if not notes.cannot}
    assert set(KNOWN) == {kind.value.lower() for kind in peft.PeftType}


@pytest.mark.parametrize("case", ["lora", "adalora", "vera", "tinylora", "prompt_tuning", "prefix_tuning"])
def test_initial_tensors_come_from_the_streams_alone(case, tiny_backbone, tiny_trial):
    seen = []
    for seed, noise in ((1, 5), (1, 6), (2, 6)):
        torch.manual_seed(noise)
        attachment = tiny_trial(tiny_backbone("bert"), spec_of(case), seed=seed).assembly.attachment
        added = [one.detach().clone() for name, one in attachment.saved.items() if name.startswith("added.")]
        attachment.detach()
        seen.append(added)
    first, same, other = seen
    assert all(map(torch.equal, first, same))
    assert not all(map(torch.equal, first, other))


def test_drawing_leaves_the_global_generators_where_they_stood(tiny_backbone):
    draws = []
    for inside in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        if inside:
            with drawing(tiny_backbone("bert"), 11):
                torch.rand(5), random.random(), np.random.rand()
        draws.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert draws[0] == draws[1]


@pytest.mark.parametrize("family", ["roberta", "distilbert", "albert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("case", ["ia3", "ln_tuning"])
def test_defaults_find_their_modules_in_every_family(case, family, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    trial = tiny_trial(backbone, spec_of(case), epochs=1)
    counts, _ = count_assembly(trial.assembly)
    assert len(trial.assembly.attachment.matched) >= len(backbone.blocks)
    assert counts.trainable_theory in {None, counts.trainable}
    trial.run()
    trial.assembly.attachment.detach()
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.trunk.state_dict().items())


@pytest.mark.parametrize(
    "config, elements",
    [
        ({}, 2 * 2 * 8 * (32 + 32) + 2 * 32 + 2),
        ({"r": 4, "use_dora": True}, 2 * 2 * (4 * (32 + 32) + 32) + 2 * 32 + 2),
        ({"r": 2, "target_modules": ["mlp-in", "query"]}, 2 * (2 * (32 + 64) + 2 * (32 + 32)) + 2 * 32 + 2),
    ],
)
def test_theory_of_lora(config, elements, tiny_backbone, tiny_trial):
    assembly = tiny_trial(tiny_backbone("bert"), PeftSpec(kind="peft", config=config)).assembly
    counts, _ = count_assembly(assembly)
    assembly.attachment.detach()
    assert counts.trainable_theory == counts.trainable == elements
    assert counts.added == elements - 2 * 32 - 2


def test_a_module_the_head_does_not_reach_is_inert(tiny_backbone, tiny_trial):
    spec = PeftSpec(kind="peft", config={"target_modules": ["value", "pooler.dense"]}, pooling="mean")
    attachment = tiny_trial(tiny_backbone("bert"), spec).assembly.attachment
    attachment.detach()
    assert set(attachment.inert) == {"added.pooler.dense.lora_A.weight", "added.pooler.dense.lora_B.weight"}
    assert attachment.matched[-1] == "pooler.dense"


def test_half_precision_trunks_get_adapters_in_single(tiny_trial):
    backbone = load_backbone(RandomBackbone(kind="random", family="bert", dtype="bfloat16"), LoadRequest())
    trial = tiny_trial(backbone, spec_of("vblora"), precision="bfloat16", epochs=1)
    assert {one.dtype for one in trial.assembly.attachment.trained.values()} == {torch.float32}
    trial.run()
    trial.assembly.attachment.detach()
    with pytest.raises(UnsupportedError, match="kept in bfloat16"):
        tiny_trial(backbone, spec_of("ln_tuning"))
    assert not any("default" in name for name in backbone.trunk.state_dict())


def test_gradient_checkpointing_changes_nothing(tiny_backbone, tiny_trial):
    for case in ("oft", "prefix_tuning"):
        runs = []
        for switch in (False, True):
            trial = tiny_trial(tiny_backbone("bert"), spec_of(case), epochs=1, gradient_checkpointing=switch)
            trial.run()
            runs.append([tensor.detach().clone() for tensor in trial.assembly.attachment.trained.values()])
            trial.assembly.attachment.detach()
        assert all(map(torch.equal, *runs))


class TestAdaLora:
    def ranks(self, attachment):
        return sum(int(one.count_nonzero()) for name, one in attachment.trained.items() if "lora_E" in name)

    def test_the_budget_falls_to_its_target_in_the_trials_own_steps(self, tiny_backbone, tiny_trial):
        spec = PeftSpec(kind="peft", tuner="adalora", config={"init_r": 6, "target_r": 2})
        for epochs in (2, 5):
            trial = tiny_trial(tiny_backbone("bert"), spec, epochs=epochs)
            trial.run()
            left = self.ranks(trial.assembly.attachment)
            trial.assembly.attachment.detach()
            assert left == 2 * 4

    def test_the_penalty_is_what_peft_adds_to_a_loss(self, tiny_backbone):
        trunk = tiny_backbone("bert").trunk
        config = peft.AdaLoraConfig(total_step=9, target_modules=["query", "value"], orth_reg_weight=0.3)
        copied = type(trunk)(trunk.config)
        tuner = peft.AdaLoraModel(copied, config, "default")
        copied.forward = Loss
        expected = tuner.forward().loss.detach()
        assert float(weigh_factors(tuner, 0.3).detach()) == pytest.approx(float(expected), rel=1e-6)

    def test_it_trains_with_the_penalty(self, tiny_backbone, tiny_trial):
        gaps = {}
        for weight in (0.0, 10.0):
            config = {"orth_reg_weight": weight}
            trial = tiny_trial(tiny_backbone("bert"), PeftSpec(kind="peft", tuner="adalora", config=config), epochs=4)
            trial.run()
            factors = [one for name, one in trial.assembly.attachment.trained.items() if "lora_A" in name]
            gaps[weight] = sum(float((one @ one.T - torch.eye(len(one))).norm().detach()) for one in factors)
            trial.assembly.attachment.detach()
        assert gaps[10.0] < gaps[0.0] - 0.1

    def test_a_schedule_longer_than_the_trial_is_told(self, tiny_backbone, tiny_trial):
        spec = PeftSpec(kind="peft", tuner="adalora", config={"tinit": 4, "tfinal": 4})
        trial = tiny_trial(tiny_backbone("bert"), spec, epochs=2)
        with pytest.raises(InputError, match="4 and 4 of 8 steps"):
            trial.prepare()
        trial.assembly.attachment.detach()


class Loss:
    """What a model returns, as far as AdaLoRA looks at it."""

    def __init__(self):
        self.loss = torch.zeros(())


def test_what_cannot_run_says_why(tiny_backbone, tiny_trial):
    with pytest.raises(UnsupportedError, match="poly: it reads a task number"):
        tiny_trial(tiny_backbone("bert"), PeftSpec(kind="peft", tuner="poly"))


def forward_of(tuner_class, config):
    def run(trunk):
        tuner_class(trunk, config, "default")
        trunk(inputs_embeds=torch.zeros(1, 3, 32))

    return run


def embed_tasks(trunk):
    config = peft.MultitaskPromptTuningConfig(num_virtual_tokens=2, token_dim=32, num_transformer_submodules=1)
    embedding = PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType.MULTITASK_PROMPT_TUNING](
        config, trunk.embeddings.word_embeddings
    )
    embedding(torch.arange(2)[None], None)


def mix(trunk):
    trunk.config.use_cache = False
    peft.get_peft_model(trunk, peft.XLoraConfig(hidden_size=32, adapters={"one": "no-such-folder"}))


TRIES = {
    "adaption_prompt": (
        lambda trunk: peft.get_peft_model(trunk, peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1)),
        "Unsupported model type for adaption prompt: 'bert'",
    ),
    "cpt": (lambda trunk: peft.CPTConfig(cpt_token_ids=[1, 2]), "only supports task_type = CAUSAL_LM"),
    "multitask_prompt_tuning": (embed_tasks, "task_ids cannot be None"),
    "poly": (forward_of(peft.PolyModel, peft.PolyConfig(target_modules=["query"])), "task_ids should not be None"),
    "shadow": (
        forward_of(PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType.SHADOW], peft.ShadowConfig(target_modules=["query"])),
        "'ShadowCarrier' object has no attribute 'view'",
    ),
    "xlora": (mix, "no-such-folder"),
}


@pytest.mark.parametrize("tuner", [name for name, notes in KNOWN.items() if notes.cannot])
def test_what_is_said_not_to_run_does_not(tuner, tiny_backbone):
    reason = Peft().supports(PeftSpec(kind="peft", tuner=tuner), None, None)
    assert reason == f"{tuner}: {KNOWN[tuner].cannot}"
    act, told = TRIES[tuner]
    trunk = tiny_backbone("bert").trunk
    with pytest.raises((ValueError, TypeError, AttributeError), match=told):
        act(type(trunk)(copy.deepcopy(trunk.config)))


def test_detach_keeps_foreign_hooks(tiny_backbone, tiny_trial):
    backbone = tiny_backbone("bert")
    called = []
    module = backbone.trunk.get_submodule("encoder.layer.0")
    assert isinstance(module, nn.Module)
    handle = module.register_forward_hook(lambda *_: called.append(1))
    tiny_trial(backbone, spec_of("lora")).assembly.attachment.detach()
    backbone.trunk(inputs_embeds=torch.zeros(1, 3, 32))
    handle.remove()
    backbone.trunk(inputs_embeds=torch.zeros(1, 3, 32))
    assert called == [1]
