import pytest
import torch

from whichtune.errors import UnsupportedError
from whichtune.spec.methods import FrozenFeaturesSpec, FullSpec, LastLayersSpec, LoraSpec


def opened(trial):
    return set(trial.assembly.attachment.trained)


def test_full_opens_everything_but_what_cannot_learn(tiny_backbone, tiny_trial):
    backbone = tiny_backbone()
    trial = tiny_trial(backbone, FullSpec(kind="full"))
    everything = {f"trunk.{name}" for name, _ in backbone.trunk.named_parameters()} | {
        "head.out.weight",
        "head.out.bias",
    }
    keys = {f"trunk.encoder.layer.{block}.attention.self.key.bias" for block in (0, 1)}
    assert opened(trial) == everything - keys
    assert set(trial.assembly.attachment.inert) == keys


def test_a_pooler_the_head_does_not_read_is_held_still(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), FullSpec(kind="full", pooling="mean"))
    assert {"trunk.pooler.dense.weight", "trunk.pooler.dense.bias"} <= set(trial.assembly.attachment.inert)


def test_last_layers_opens_the_last_blocks_the_pooler_and_the_head(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LastLayersSpec(kind="last-layers", blocks=1))
    fronts = ("trunk.encoder.layer.1.", "trunk.pooler.", "head.")
    assert all(name.startswith(fronts) for name in opened(trial))
    assert {name.split(".")[0] for name in opened(trial)} == {"trunk", "head"}


def test_frozen_features_opens_the_head_alone(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone("roberta"), FrozenFeaturesSpec(kind="frozen-features"))
    assert opened(trial) == {"head.dense.weight", "head.dense.bias", "head.out.weight", "head.out.bias"}


def test_a_norm_that_is_not_there_is_refused(tiny_backbone, tiny_trial):
    with pytest.raises(UnsupportedError, match="no norm after its last block"):
        tiny_trial(tiny_backbone(), LastLayersSpec(kind="last-layers", final_norm=True))


@pytest.mark.parametrize("bias, count", [("none", 0), ("lora-only", 2 * 2 * 32), ("all", None)])
def test_lora_opens_the_biases_it_is_asked_for(bias, count, tiny_backbone, tiny_trial):
    backbone = tiny_backbone()
    trial = tiny_trial(backbone, LoraSpec(kind="lora", bias=bias))
    attachment = trial.assembly.attachment
    own = sum(
        tensor.numel() for name, tensor in (attachment.trained | attachment.inert).items() if name.startswith("trunk.")
    )
    everything = sum(tensor.numel() for name, tensor in backbone.trunk.named_parameters() if name.endswith("bias"))
    assert own == (everything if count is None else count)
    assert attachment.theory.trainable == sum(
        tensor.numel() for tensor in (attachment.trained | attachment.inert).values()
    )


def test_only_declared_tensors_ask_for_gradients(tiny_backbone, tiny_trial):
    backbone = tiny_backbone()
    trial = tiny_trial(backbone, LoraSpec(kind="lora"))
    asking = {
        id(tensor)
        for tensor in [*backbone.trunk.parameters(), *trial.assembly.head.parameters()]
        if tensor.requires_grad
    }
    assert asking == {id(tensor) for tensor in trial.assembly.attachment.trained.values()}
    trial.assembly.attachment.detach()
    assert all(tensor.requires_grad for tensor in backbone.trunk.parameters())


def test_two_lora_adapters_start_from_the_seed_alone(tiny_backbone, tiny_trial):
    def down(seed):
        backbone = tiny_backbone()
        torch.manual_seed(torch.seed() % 2**31)
        return next(
            t.detach().clone()
            for n, t in tiny_trial(backbone, LoraSpec(kind="lora"), seed).assembly.attachment.trained.items()
            if n.endswith("down")
        )

    assert torch.equal(down(1), down(1))
    assert not torch.equal(down(1), down(2))
    assert not torch.equal(down(0), down(1))
