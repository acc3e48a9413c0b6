"""Soft prompts against Hugging Face PEFT at `read: virtual`: tensors copied, dropout 0, ten steps of one optimizer."""

import peft
import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from whichtune.engine.optimizing import build_optimizer
from whichtune.models.batch import collate
from whichtune.spec.methods import MethodSpec
from whichtune.spec.training import TrainingSpec

CLASSES = {
    "bert": (BertConfig, BertForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
}
METHODS = {
    "prompt-tuning": ({"kind": "prompt-tuning"}, peft.PromptTuningConfig, {}),
    "p-tuning mlp": (
        {"kind": "p-tuning", "encoder_width": 24},
        peft.PromptEncoderConfig,
        {"encoder_reparameterization_type": "MLP", "encoder_hidden_size": 24},
    ),
    "p-tuning lstm": (
        {"kind": "p-tuning", "encoder": "lstm", "encoder_width": 24},
        peft.PromptEncoderConfig,
        {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 24, "encoder_num_layers": 2},
    ),
}
STEPS = 10


def make_peer(family, assembly, config_class, options):
    """The same trunk and head as a `transformers` classifier, with PEFT's own prompt in front."""
    _, model_class = CLASSES[family]
    config = assembly.backbone.trunk.config
    config.num_labels = 2
    config.classifier_dropout = 0.0
    model = model_class(config)
    getattr(model, family).load_state_dict(assembly.backbone.trunk.state_dict())
    if family == "bert":
        model.classifier.load_state_dict(assembly.head.out.state_dict())
    else:
        model.classifier.dense.load_state_dict(assembly.head.dense.state_dict())
        model.classifier.out_proj.load_state_dict(assembly.head.out.state_dict())
    return peft.get_peft_model(model, config_class(task_type="SEQ_CLS", num_virtual_tokens=5, **options))


def name_of_peer(family, name):
    """Our tensor name to PEFT's."""
    if name == "added.rows":
        return "prompt_encoder.default.embedding.weight"
    if name.startswith("added.encoder."):
        part = name.removeprefix("added.encoder.")
        home = "lstm_head" if part.startswith("lstm.") else "mlp_head"
        return f"prompt_encoder.default.{home}.{part.removeprefix('lstm.').removeprefix('out.')}"
    part = name.removeprefix("head.")
    part = part.removeprefix("out.") if family == "bert" else part.replace("out.", "out_proj.")
    return f"base_model.classifier.modules_to_save.default.{part}"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # PEFT's own
@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("method", METHODS)
def test_ten_steps_equal_peft(family, method, tiny_backbone, tiny_trial):
    fields, config_class, options = METHODS[method]
    backbone = tiny_backbone(family, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    spec = TypeAdapter(MethodSpec).validate_python(fields | {"virtual_tokens": 5, "read": "virtual"})
    trial = tiny_trial(backbone, spec, head_dropout=0.0)
    assembly = trial.assembly
    peer = make_peer(family, assembly, config_class, options)
    theirs = dict(peer.named_parameters())
    paired = {name: theirs[name_of_peer(family, name)] for name in assembly.attachment.trained}
    assert {id(tensor) for tensor in paired.values()} == {id(one) for one in theirs.values() if one.requires_grad}
    with torch.no_grad():
        for name, tensor in assembly.attachment.trained.items():
            paired[name].copy_(tensor)
    ours_optimizer = build_optimizer(assembly.attachment.trained, 1e-2, TrainingSpec())
    their_optimizer = build_optimizer(paired, 1e-2, TrainingSpec())
    encoded = trial.material.encoded["train"]
    for step in range(STEPS):
        batch = collate(encoded, range(3 * (step % 8), 3 * (step % 8) + 3))
        with assembly.fitting():
            ours = assembly(batch)
        other = peer(input_ids=batch.ids, attention_mask=batch.layout.real.long()).logits
        assert (ours - other).abs().max() < 1e-6
        for logits, optimizer in ((ours, ours_optimizer), (other, their_optimizer)):
            optimizer.zero_grad()
            functional.cross_entropy(logits, batch.targets).backward()
        for name, tensor in assembly.attachment.trained.items():
            assert (tensor.grad - paired[name].grad).abs().max() < 1e-6, name
        ours_optimizer.step()
        their_optimizer.step()
    for name, tensor in assembly.attachment.trained.items():
        assert (tensor - paired[name]).abs().max() < 1e-6, name
