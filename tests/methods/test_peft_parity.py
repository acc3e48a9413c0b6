"""`peft` against PEFT's own wrapper around a whole classifier: tensors copied, dropout 0, ten steps, 1e-6."""

import peft
import pytest
import torch
from torch.nn import functional
from transformers import BertForSequenceClassification

from whichtune.engine.optimizing import build_optimizer
from whichtune.methods.peft_prompts import Cached
from whichtune.models.batch import collate
from whichtune.spec.methods import LoraSpec
from whichtune.spec.peft import PeftSpec
from whichtune.spec.training import TrainingSpec

STEPS, ROWS = 10, 4
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PEERS = {
    "lora": (
        PeftSpec(kind="peft", config={"r": 4, "use_rslora": True}),
        peft.LoraConfig(task_type="SEQ_CLS", r=4, use_rslora=True, target_modules=["query", "value"]),
    ),
    "ia3": (
        PeftSpec(kind="peft", tuner="ia3"),
        peft.IA3Config(
            task_type="SEQ_CLS",
            target_modules=r".*attention\.self\.(key|value)|.*layer\.\d\.output\.dense",
            feedforward_modules=r".*layer\.\d\.output\.dense",
        ),
    ),
    "oft": (
        PeftSpec(kind="peft", tuner="oft", config={"oft_block_size": 8, "target_modules": "attention"}),
        peft.OFTConfig(
            task_type="SEQ_CLS", oft_block_size=8, target_modules=["query", "key", "value", "attention.output.dense"]
        ),
    ),
    "ln_tuning": (
        PeftSpec(kind="peft", tuner="ln_tuning"),
        peft.LNTuningConfig(task_type="SEQ_CLS", target_modules=["LayerNorm"]),
    ),
    "prompt_tuning": (
        PeftSpec(kind="peft", tuner="prompt_tuning", config={"num_virtual_tokens": 4}, read="virtual"),
        peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
    ),
    "p_tuning": (
        PeftSpec(kind="peft", tuner="p_tuning", config={"num_virtual_tokens": 4}, read="virtual"),
        peft.PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=4, encoder_hidden_size=32),
    ),
}


def make_peer(backbone, head, config):
    backbone.trunk.config.num_labels = 2
    model = BertForSequenceClassification(backbone.trunk.config)
    model.bert.load_state_dict(backbone.trunk.state_dict())
    model.classifier.load_state_dict(head.out.state_dict())
    return peft.get_peft_model(model, config).eval()


def pair_up(ours, peer):
    """Our trained tensors' names to PEFT's tensors: the same words, but for the wrapper's own."""
    theirs = {}
    for name, tensor in peer.named_parameters():
        parts = [part for part in name.split(".") if part != "default"]
        short = ".".join(parts).removeprefix("base_model.model.bert.").removeprefix("prompt_encoder.")
        theirs[short] = tensor
    named = {}
    for name in ours:
        kind, _, rest = name.partition(".")
        head = "classifier.modules_to_save." + rest.removeprefix("out.")
        (key,) = [one for one in theirs if (one.endswith(head) if kind == "head" else one == rest)]
        named[name] = theirs[key]
    return named


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls what transformers is about to drop
@pytest.mark.filterwarnings("ignore:Unsupported layer type")
@pytest.mark.parametrize("name", PEERS)
def test_ten_steps_equal_pefts_own(name, tiny_backbone, tiny_trial):
    spec, config = PEERS[name]
    backbone = tiny_backbone("bert", **PLAIN)
    trial = tiny_trial(backbone, spec, head_dropout=0.0)
    assembly = trial.assembly
    trained = assembly.attachment.trained
    assembly.attachment.detach()
    peer = make_peer(backbone, assembly.head, config)
    trial = tiny_trial(backbone, spec, head_dropout=0.0)
    assembly = trial.assembly
    trained = assembly.attachment.trained
    paired = pair_up(trained, peer)
    assert {id(one) for one in peer.parameters() if one.requires_grad} == {id(one) for one in paired.values()}
    with torch.no_grad():
        for ours, theirs in paired.items():
            theirs.copy_(trained[ours])

    def run_peer(batch):
        return peer(input_ids=batch.ids, attention_mask=batch.layout.real.long()).logits

    compare_training(trial, (assembly, trained), (run_peer, paired))
    assembly.attachment.detach()


def test_ten_steps_equal_our_own_lora(tiny_backbone, tiny_trial):
    left, right = tiny_backbone("bert", **PLAIN), tiny_backbone("bert", **PLAIN)
    ours = LoraSpec(kind="lora", rank=4, alpha=16, dropout=0.0)
    theirs = PeftSpec(kind="peft", config={"r": 4, "lora_alpha": 16})
    first = tiny_trial(left, ours, head_dropout=0.0)
    second = tiny_trial(right, theirs, head_dropout=0.0)
    trained, other = first.assembly.attachment.trained, second.assembly.attachment.trained
    paired = {name: other[name.replace(".down", ".lora_A.weight").replace(".up", ".lora_B.weight")] for name in trained}
    with torch.no_grad():
        for name, tensor in paired.items():
            tensor.copy_(trained[name])
    compare_training(first, (first.assembly, trained), (second.assembly, paired))
    first.assembly.attachment.detach()
    second.assembly.attachment.detach()


def compare_training(trial, left, right):
    encoded = trial.material.encoded["train"]
    optimizers = [build_optimizer(tensors, 1e-2, TrainingSpec(weight_decay=0.01)) for _, tensors in (left, right)]
    for step in range(STEPS):
        batch = collate(encoded, range(ROWS * (step % 8), ROWS * (step % 8) + ROWS))
        with trial.assembly.fitting():
            outputs = [left[0](batch), right[0](batch)]
        assert (outputs[0] - outputs[1]).abs().max() < 1e-6
        for logits, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(logits, batch.targets).backward()
            optimizer.step()
    for name, tensor in left[1].items():
        assert (tensor - right[1][name]).abs().max() < 1e-6, name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_keys_and_values_in_front_are_those_of_the_attention_formula(attention, tiny_backbone):
    """One block by hand: softmax over the prefix and the real rows of the text, and nothing else."""
    trunk = tiny_backbone("bert", **PLAIN).trunk
    trunk.set_attn_implementation(attention)
    block = trunk.encoder.layer[0].attention.self
    heads, width = block.num_attention_heads, block.attention_head_size
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(4, heads, 3, width, generator=draw)
    hidden = torch.randn(2, 5, 32, generator=draw)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    cached = Cached()
    cached.rows = rows
    _, given = cached.enter(trunk, (), {"inputs_embeds": hidden, "attention_mask": real.long()})
    mask = given["attention_mask"]
    got = block(hidden, attention_mask=mask, past_key_values=given["past_key_values"])[0]
    for text in range(2):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            known = hidden[text, real[text]]
            keys = torch.cat([rows[0, head], known @ block.key.weight[part].T + block.key.bias[part]])
            values = torch.cat([rows[1, head], known @ block.value.weight[part].T + block.value.bias[part]])
            queries = known @ block.query.weight[part].T + block.query.bias[part]
            expected = torch.softmax(queries @ keys.T / width**0.5, dim=1) @ values
            assert (got[text, real[text]][:, part] - expected).abs().max() < 1e-5
    trunk.set_attn_implementation("sdpa")


@pytest.mark.parametrize("tuner", ["prefix_tuning", "prompt_tuning"])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_batch_one_equals_batch_many(family, tuner, tiny_backbone, tiny_trial):
    spec = PeftSpec(kind="peft", tuner=tuner, config={"num_virtual_tokens": 4})
    trial = tiny_trial(tiny_backbone(family), spec)
    encoded = trial.material.encoded["validation"]
    with trial.assembly.predicting():
        many = trial.assembly(collate(encoded, range(8)))
        ones = torch.cat([trial.assembly(collate(encoded, [row])) for row in range(8)])
    trial.assembly.attachment.detach()
    assert (many - ones).abs().max() < 1e-5
