"""Class weights, against scikit-learn's and torch's own."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from whichtune.engine.fit import Run, accumulate, fit
from whichtune.engine.weighting import weigh_classes
from whichtune.errors import SpecError
from whichtune.models.batch import collate
from whichtune.spec.methods import FullSpec, LoraSpec
from whichtune.spec.training import TrainingSpec

LABELS = ("a", "b", "c")
TARGETS = np.array([0] * 90 + [1] * 9 + [2])
LORA = LoraSpec(kind="lora", dropout=0.0)


def test_balanced_is_what_scikit_learn_says():
    ours = weigh_classes(TrainingSpec(class_weights="balanced"), LABELS, TARGETS)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS)
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_inverse_root_by_hand():
    ours = weigh_classes(TrainingSpec(class_weights="inverse-root"), LABELS, np.array([0] * 9 + [1] * 4 + [2]))
    assert ours == pytest.approx(14 / 6 / np.array([3, 2, 1]), rel=1e-6)


@pytest.mark.parametrize("how", ["balanced", "inverse-root"])
def test_weights_of_all_rows_add_up_to_their_number(how):
    targets = np.array([0] * 5 + [2] * 20 + [-1] * 3)
    weights = weigh_classes(TrainingSpec(class_weights=how), LABELS, targets)
    assert weights[targets[targets >= 0]].sum() == pytest.approx(25)
    assert weights[1] == 1, "a class without training rows"


def test_weights_by_label():
    assert weigh_classes(TrainingSpec(class_weights={"c": 5, "a": 0.5}), LABELS, TARGETS).tolist() == [0.5, 1, 5]
    assert weigh_classes(TrainingSpec(), LABELS, TARGETS) is None
    with pytest.raises(SpecError, match=r"class_weights: 'negativ' is no label .* negative, positive; did you mean"):
        weigh_classes(TrainingSpec(class_weights={"negativ": 2}), ("negative", "positive"), TARGETS)


def test_sum_and_divisor_are_both_weighted_as_torch_does(tiny_task):
    draw = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(7, 2, generator=draw), torch.tensor([0, 1, 1, -1, 0, 0, 0])
    weights = torch.tensor([0.25, 4.0])
    summed, divisor = tiny_task.loss(outputs, targets, weights)
    theirs = functional.cross_entropy(outputs, targets, weights, ignore_index=-1, reduction="mean")
    assert float(summed / divisor) == pytest.approx(float(theirs), rel=1e-6)
    assert divisor == tiny_task.count(targets, weights) == pytest.approx(4 * 0.25 + 2 * 4)
    assert tiny_task.count(targets) == 6


def test_a_step_is_the_weighted_mean_over_all_its_batches(tiny_backbone, tiny_trial):
    """Batches whose classes differ: a mean of weighted batch means would differ."""
    rows = [[0, 2, 4, 6, 1], [3, 5, 7]]
    trial = tiny_trial(tiny_backbone(), LORA, head_dropout=0.0, class_weights={"bad": 6, "good": 0.5})
    run = trial.prepare()
    encoded = trial.material.encoded["train"]
    run.batches = iter([[collate(encoded, part) for part in rows]])
    trained = run.assembly.attachment.trained
    with run.assembly.fitting():
        loss = accumulate(run)
        ours = {name: tensor.grad.clone() for name, tensor in trained.items()}
        run.optimizer.zero_grad()
        together = collate(encoded, [row for part in rows for row in part])
        theirs = functional.cross_entropy(run.assembly(together), together.targets, torch.tensor([6, 0.5]))
        theirs.backward()
    assert loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    for name, tensor in trained.items():
        assert torch.allclose(ours[name], tensor.grad, atol=1e-6, rtol=1e-4), name


def losses_of(trial):
    class Losses(list):
        def on_step(self, figures, total):
            self.append(figures.loss)

        def on_validation(self, step, score, metrics): ...

    losses = Losses()
    trial.listeners = (losses,)
    run: Run = trial.prepare()
    fit([run])
    return list(losses)


def test_weights_move_training_and_no_reported_loss(tiny_backbone, tiny_trial):
    plain, heavy = (
        tiny_trial(tiny_backbone(), LORA, head_dropout=0.0, class_weights=weights, max_steps=3)
        for weights in ("none", {"good": 9})
    )
    assert losses_of(plain)[0] != pytest.approx(losses_of(heavy)[0], rel=1e-3)
    trial = tiny_trial(tiny_backbone(), FullSpec(kind="full", learning_rate=1e-9), class_weights={"good": 9})
    table = trial.run().predictions[0]
    golds = [table.labels.index(gold) for gold in table.gold]
    own = -np.log(table.probabilities[np.arange(len(golds)), golds])
    assert table.loss == pytest.approx(own, rel=1e-4), "a reported loss knows no weights"


def test_equal_weights_are_no_weights(tiny_backbone, tiny_trial):
    runs = [
        losses_of(tiny_trial(tiny_backbone(), LORA, head_dropout=0.0, class_weights=weights, max_steps=4))
        for weights in ("none", "balanced", {"good": 3, "bad": 3})
    ]
    assert runs[1] == pytest.approx(runs[0], rel=1e-5)
    assert runs[2] == pytest.approx(runs[0], rel=1e-5)


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
def test_no_threshold_is_tuned_predictions_are_the_greatest_probability(sampling, tiny_backbone, tiny_trial):
    trial = tiny_trial(tiny_backbone(), LORA, class_weights={"good": 20}, sampling=sampling, epochs=1)
    for table in trial.run().predictions:
        greatest = [table.labels[index] for index in table.probabilities.argmax(axis=1)]
        assert table.parsed == greatest, table.split
