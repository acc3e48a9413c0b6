"""The loop: what it moves, what it leaves, and what stops it."""

import pytest
import torch

from whichtune.engine.fit import accumulate, advance, fit
from whichtune.engine.guards import DEAD_AFTER_STEPS
from whichtune.errors import DeadGradientError, NonFiniteError
from whichtune.models.batch import collate
from whichtune.spec.methods import FullSpec, LastLayersSpec, LoraSpec

LORA = LoraSpec(kind="lora", dropout=0.0)


class Curve:
    def __init__(self):
        self.losses, self.scores = [], []

    def on_step(self, figures, total):
        self.losses.append(figures.loss)

    def on_validation(self, step, score, metrics):
        self.scores.append((step, score))


def test_accumulated_batches_give_the_gradients_of_one_large_batch(tiny_backbone, tiny_trial):
    """Uneven batches: a mean of batch means would differ."""
    gradients = []
    for size, accumulate_batches in ((12, 1), (5, 3)):
        trial = tiny_trial(tiny_backbone(), LORA, head_dropout=0.0, batch_size=size, accumulate=accumulate_batches)
        run = trial.prepare()
        rows = [list(range(start, min(start + size, 12))) for start in range(0, 12, size)]
        run.batches = iter([[collate(trial.material.encoded["train"], part) for part in rows]])
        with run.assembly.fitting():
            accumulate(run)
        gradients.append({name: tensor.grad for name, tensor in run.assembly.attachment.trained.items()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-7), name


def test_modes_are_restored_on_every_path(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LastLayersSpec(kind="last-layers"))
    trunk = trial.assembly.backbone.trunk
    trunk.encoder.layer[0].train()
    before = [module.training for module in trunk.modules()]
    with trial.assembly.fitting():
        assert trunk.encoder.layer[1].training
        assert not trunk.encoder.layer[0].training, "frozen parts run in eval mode"
    with pytest.raises(ZeroDivisionError), trial.assembly.predicting():
        raise ZeroDivisionError
    assert [module.training for module in trunk.modules()] == before


def test_a_loss_that_is_not_a_number_stops_its_own_run_alone(tiny_backbone, tiny_trial):
    good = tiny_trial(tiny_backbone(), LORA, max_steps=3).prepare()
    bad = tiny_trial(tiny_backbone(), LORA, max_steps=3).prepare()
    with torch.no_grad():
        bad.assembly.head.out.weight.fill_(float("nan"))
    fit([good, bad])
    assert isinstance(bad.failure, NonFiniteError)
    assert (good.failure, good.step) == (None, 3)


def test_a_tensor_without_gradient_stops_the_run(tiny_backbone, tiny_trial):
    run = tiny_trial(tiny_backbone(), LORA, epochs=9).prepare()
    stray = torch.nn.Parameter(torch.ones(2))
    run.watch.waiting["stray"] = stray
    fit([run])
    assert isinstance(run.failure, DeadGradientError)
    assert "stray" in str(run.failure)
    assert run.step == DEAD_AFTER_STEPS - 1


def test_checkpointing_does_not_freeze_adapters(tiny_backbone, tiny_trial):
    losses = []
    for checkpointing in (False, True):
        curve = Curve()
        trial = tiny_trial(
            tiny_backbone(),
            LoraSpec(kind="lora"),
            listeners=(curve,),
            gradient_checkpointing=checkpointing,
            max_steps=6,
        )
        run = trial.prepare()
        fit([run])
        assert run.failure is None
        assert not run.watch.waiting
        losses.append(curve.losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_frozen_tensors_do_not_move(tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LastLayersSpec(kind="last-layers"))
    trunk, trained = trial.assembly.backbone.trunk, trial.assembly.attachment.trained
    before = {name: tensor.detach().clone() for name, tensor in trunk.named_parameters()}
    trial.run()
    for name, tensor in trunk.named_parameters():
        assert torch.equal(tensor, before[name]) == (f"trunk.{name}" not in trained), name


def test_early_stopping_and_the_best_weights(tiny_backbone, tiny_trial):
    curve = Curve()
    stopping = {"patience": 1, "min_gain": 0.5}
    trial = tiny_trial(
        tiny_backbone(), FullSpec(kind="full"), listeners=(curve,), epochs=9, stopping=stopping, keep="best"
    )
    outcome = trial.run()
    assert outcome.kept_step == 4
    assert outcome.steps == 8, "one epoch without a gain of 0.5, then it stops"
    assert [step for step, _ in curve.scores] == [4, 8]


def test_dropout_depends_on_seed_and_step_alone(tiny_backbone, tiny_trial):
    """The family's own dropout modules draw from a generator that is set anew at every forward pass."""
    losses = []
    for noise in (1, 2):
        curve = Curve()
        trial = tiny_trial(tiny_backbone(), FullSpec(kind="full"), listeners=(curve,), max_steps=3)
        run = trial.prepare()
        for _ in range(3):
            torch.manual_seed(noise)
            torch.rand(noise)
            advance(run)
        losses.append(curve.losses)
    assert losses[0] == losses[1]
