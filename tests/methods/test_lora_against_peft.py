"""LoRA against Hugging Face PEFT: initial tensors copied, dropout 0, ten steps of the same optimizer.

In float64: AdamW divides each gradient by its own size, so that in float32 the rounding of a product that is summed in
another order grows to more than what is compared here.
"""

import peft
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from whichtune.engine.optimizing import build_optimizer
from whichtune.models.batch import collate
from whichtune.spec.methods import LoraSpec
from whichtune.spec.training import TrainingSpec

CLASSES = {
    "bert": (BertConfig, BertForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
}


def make_peer(family, backbone, head, targets):
    """The same trunk and head as a `transformers` classifier, wrapped by PEFT."""
    _, model_class = CLASSES[family]
    config = backbone.trunk.config
    config.num_labels = 2
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.classifier_dropout = 0.0
    model = model_class(config)
    getattr(model, family).load_state_dict(backbone.trunk.state_dict())
    if family == "bert":
        model.classifier.load_state_dict(head.out.state_dict())
    else:
        model.classifier.dense.load_state_dict(head.dense.state_dict())
        model.classifier.out_proj.load_state_dict(head.out.state_dict())
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=list(targets))
    return peft.get_peft_model(model, lora)


def names_of_peer(family, name):
    """Our tensor name to PEFT's."""
    base = f"base_model.model.{family}."
    if name.startswith("added."):
        path, _, side = name.removeprefix("added.").rpartition(".")
        return f"{base}{path}.lora_{'A' if side == 'down' else 'B'}.default.weight"
    part = name.removeprefix("head.")
    part = part.removeprefix("out.") if family == "bert" else part.replace("out.", "out_proj.")
    return f"base_model.model.classifier.modules_to_save.default.{part}"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls what transformers is about to drop
@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("targets", [("query", "value"), ("query", "key", "value", "output")])
def test_ten_steps_equal_peft(family, targets, tiny_backbone, tiny_trial):
    backbone = tiny_backbone(family, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    method = LoraSpec(kind="lora", rank=4, alpha=8, dropout=0.0, targets=targets, learning_rate=1e-2)
    words = {"output": "attention.output.dense"}
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    trial = tiny_trial(backbone, method, head_dropout=0.0)
    assembly = trial.assembly
    backbone.trunk.double(), assembly.head.double()
    plain = type(backbone.trunk)(backbone.trunk.config, **({"add_pooling_layer": False} if family == "roberta" else {}))
    plain.load_state_dict(before)

    class Plain:
        trunk = plain

    peer = make_peer(family, Plain, assembly.head, [words.get(target, target) for target in targets]).double()
    theirs = dict(peer.named_parameters())
    with torch.no_grad():
        for name, tensor in assembly.attachment.trained.items():
            theirs[names_of_peer(family, name)].copy_(tensor)
    training = TrainingSpec(weight_decay=0.01)
    ours_optimizer = build_optimizer(assembly.attachment.trained, 1e-2, training)
    paired = {name: theirs[names_of_peer(family, name)] for name in assembly.attachment.trained}
    their_optimizer = build_optimizer(paired, 1e-2, training)
    encoded = trial.material.encoded["train"]
    for step in range(10):
        batch = collate(encoded, range(3 * (step % 8), 3 * (step % 8) + 3))
        with assembly.fitting():
            ours = assembly(batch)
        peer.eval()  # dropout is 0; PEFT's own modules do the same in both modes
        mask = batch.layout.real.long()
        other = peer(input_ids=batch.ids, attention_mask=mask).logits
        assert (ours - other).abs().max() < 1e-10
        for logits, optimizer in ((ours, ours_optimizer), (other, their_optimizer)):
            optimizer.zero_grad()
            functional.cross_entropy(logits, batch.targets).backward()
        for name, tensor in assembly.attachment.trained.items():
            assert (tensor.grad - paired[name].grad).abs().max() < 1e-10, name
        ours_optimizer.step()
        their_optimizer.step()
    for name, tensor in assembly.attachment.trained.items():
        assert (tensor - paired[name]).abs().max() < 1e-10, name
    assembly.attachment.detach()
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.trunk.state_dict().items())
