"""Training on answers in words: against `transformers`' own loss, and against PEFT step by step."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from whichtune.engine.fit import accumulate, fit
from whichtune.engine.optimizing import build_optimizer
from whichtune.models.batch import collate
from whichtune.models.causal import score_tokens
from whichtune.spec.methods import FullSpec, LoraSpec
from whichtune.spec.training import TrainingSpec

DRY = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
FAMILIES = {"gpt2": DRY, "llama": {"attention_dropout": 0.0}}


def peer_of(backbone):
    model = AutoModelForCausalLM.from_config(backbone.trunk.config, attn_implementation="eager").eval()
    model.base_model.load_state_dict(backbone.trunk.state_dict())
    if not backbone.output.tied:
        model.lm_head.weight.data.copy_(backbone.output.weight)
    return model


def labelled(encoded, rows):
    """Right-padded ids, mask and labels as `transformers` takes them: -100 outside of the answers."""
    width = max(int(encoded.lengths[row]) for row in rows)
    ids, mask = torch.ones(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), -100)
    for place, row in enumerate(rows):
        tokens = torch.from_numpy(encoded.row(row).astype("int64"))
        ids[place, : len(tokens)], mask[place, : len(tokens)] = tokens, 1
        labels[place, int(encoded.starts[row]) : len(tokens)] = tokens[int(encoded.starts[row]) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("kind", ["instruction-classification", "summarization"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_batch_is_transformers_with_labels_on_the_answers(
    family, kind, tiny_backbone, language_trial, ask_in_words
):
    backbone = tiny_backbone(family, **FAMILIES[family])
    model = peer_of(backbone)
    trial = language_trial(backbone, FullSpec(kind="full"), ask_in_words(kind), head_dropout=0.0, batch_size=8)
    run = trial.prepare()
    encoded = trial.material.encoded["train"]
    rows = list(range(8))
    run.batches = iter([[collate(encoded, rows)]])
    with run.assembly.fitting():
        loss = accumulate(run)
    theirs = model(**labelled(encoded, rows)).loss
    theirs.backward()
    assert loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    own = dict(model.base_model.named_parameters())
    for name, tensor in run.assembly.attachment.trained.items():
        other = own[name.removeprefix("trunk.")].grad
        assert torch.allclose(tensor.grad, other, atol=1e-5 * float(other.abs().max() + 1)), name
    trial.assembly.attachment.detach()


def test_accumulation_over_uneven_batches_divides_once_by_all_tokens(tiny_backbone, language_trial, ask_in_words):
    """Batches differ in rows and in tokens an answer: a mean of batch means would differ."""
    gradients, losses, model = [], [], peer_of(tiny_backbone("gpt2", **DRY))
    for parts in ([range(11)], [range(5), range(5, 10), range(10, 11)]):
        backbone = tiny_backbone("gpt2", **DRY)
        trial = language_trial(
            backbone, LoraSpec(kind="lora", dropout=0.0), ask_in_words("summarization"), accumulate=len(parts)
        )
        run = trial.prepare()
        run.batches = iter([[collate(trial.material.encoded["train"], list(rows)) for rows in parts]])
        with run.assembly.fitting():
            losses.append(accumulate(run))
        gradients.append({name: tensor.grad for name, tensor in run.assembly.attachment.trained.items()})
    with torch.no_grad():
        theirs = float(model(**labelled(trial.material.encoded["train"], range(11))).loss)
    assert losses == pytest.approx([theirs, theirs], rel=1e-5)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name
    trial.assembly.attachment.detach()


@pytest.mark.parametrize(
    "family, targets, words",
    [
        ("gpt", ("query", "key", "value", "output"), ["query", "key", "value", "output"]),
        ("gpt2", ("c_attn", "attn.c_proj"), ["c_attn", "attn.c_proj"]),
    ],
)
def test_ten_steps_equal_pefts_around_the_same_maps(
    family, targets, words, tiny_backbone, language_trial, ask_in_words
):
    backbone, twin = tiny_backbone(family, **DRY), tiny_backbone(family, **DRY)
    method = LoraSpec(kind="lora", rank=4, alpha=8, dropout=0.0, targets=targets, learning_rate=1e-2)
    trial = language_trial(backbone, method, ask_in_words("summarization"))
    config = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=words, fan_in_fan_out=family == "gpt2")
    peer = peft.inject_adapter_in_model(config, twin.trunk).eval()
    theirs, paired = dict(peer.named_parameters()), {}
    for name, tensor in trial.assembly.attachment.trained.items():
        path, _, side = name.removeprefix("added.").rpartition(".")
        paired[name] = theirs[f"{path}.lora_{'A' if side == 'down' else 'B'}.default.weight"]
        with torch.no_grad():
            paired[name].copy_(tensor)
    training = TrainingSpec(weight_decay=0.01)
    optimizers = [build_optimizer(own, 1e-2, training) for own in (trial.assembly.attachment.trained, paired)]
    encoded = trial.material.encoded["train"]
    for step in range(10):
        batch = collate(encoded, range(3 * (step % 8), 3 * (step % 8) + 3))
        with trial.assembly.fitting():
            ours = trial.assembly(batch)
        hidden = peer(
            inputs_embeds=twin.embed(batch),
            attention_mask=batch.layout.real.long(),
            position_ids=batch.layout.positions,
        ).last_hidden_state
        other = score_tokens(twin, hidden[batch.layout.targets])
        assert (ours - other).abs().max() < 1e-4 * other.std()
        for scores, optimizer in zip((ours, other), optimizers, strict=True):
            optimizer.zero_grad()
            total, count = trial.material.task.loss(scores, batch.targets)
            (total / count).backward()
            optimizer.step()
    for name, tensor in trial.assembly.attachment.trained.items():
        assert (tensor - paired[name]).abs().max() < 1e-5, name
    assert all(float(tensor.detach().abs().max()) > 0 for tensor in paired.values()), "both sides have moved"
    trial.assembly.attachment.detach()


def test_the_end_is_learned(tiny_backbone, language_trial, ask_in_words):
    """After some training every answer comes to an end by itself, and nearly all are the labels."""
    task = ask_in_words(decoding={"max_new_tokens": 8})
    trial = language_trial(
        tiny_backbone("gpt", **DRY), FullSpec(kind="full", learning_rate=5e-3), task, epochs=12, head_dropout=0.0
    )
    table = trial.run().predictions[1]
    assert max(table.tokens_out) < 8
    told = [text for text in table.raw if text in (" good", " bad")]
    assert len(told) >= 12
    assert {len(text) for text, count in zip(table.raw, table.tokens_out, strict=True) if len(text) == count} >= {4, 5}
    trial.assembly.attachment.detach()


def test_a_curve_is_written_of_losses(tiny_backbone, language_trial, ask_in_words):
    class Curve:
        def __init__(self):
            self.losses, self.scores = [], []

        def on_step(self, figures, total):
            self.losses.append(figures.loss)

        def on_validation(self, step, score, metrics):
            self.scores.append((step, score, dict(metrics)))

    curve = Curve()
    trial = language_trial(
        tiny_backbone("gpt"), LoraSpec(kind="lora", learning_rate=1e-2), ask_in_words("summarization"),
        listeners=(curve,), validate_every=2,
    )  # fmt: skip
    run = trial.prepare()
    fit([run])
    assert run.failure is None
    assert [step for step, *_ in curve.scores] == [2, 4, 6, 8]
    assert all(metrics == {"loss": -score} for _, score, metrics in curve.scores)
    assert curve.scores[-1][1] > curve.scores[0][1]
    trial.assembly.attachment.detach()


def test_blocks_that_run_again_give_the_same_losses(tiny_backbone, language_trial, ask_in_words):
    losses = []
    for checkpointing in (False, True):
        trial = language_trial(
            tiny_backbone("gpt"), LoraSpec(kind="lora"), ask_in_words("summarization"),
            gradient_checkpointing=checkpointing,
        )  # fmt: skip
        run = trial.prepare()
        with run.assembly.fitting():
            losses.append(accumulate(run))
        assert all(float(tensor.grad.abs().sum()) > 0 for name, tensor in tensors_of(run) if "up" in name)
        trial.assembly.attachment.detach()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def tensors_of(run):
    return run.assembly.attachment.trained.items()
