import pytest
import torch

from whichtune.engine.stopping import Keeper
from whichtune.spec.training import TrainingSpec


def walk(scores, **training):
    """Validate after every step with the given scores; the weight is the step."""
    weight = torch.nn.Parameter(torch.zeros(1))
    keeper = Keeper(TrainingSpec(**training), 1, len(scores), {"weight": weight}, lambda step: (scores[step - 1], step))
    for step in range(1, len(scores) + 1):
        weight.data.fill_(step)
        keeper.consider(step)
        if keeper.stopped:
            break
    keeper.put_back()
    return keeper, float(weight.detach())


def test_the_best_weights_are_put_back():
    keeper, weight = walk([0.5, 0.9, 0.7], keep="best")
    assert (keeper.kept_step, keeper.outcome, weight) == (2, 2, 2.0)


def test_the_last_weights_stay():
    keeper, weight = walk([0.5, 0.9, 0.7], keep="last")
    assert (keeper.kept_step, keeper.outcome, weight) == (3, 3, 3.0)


def test_gains_too_small_to_wait_for_are_kept_all_the_same():
    stopping = {"patience": 9, "min_gain": 0.01}
    keeper, weight = walk([0.80, 0.805, 0.809], keep="best", stopping=stopping)
    assert (keeper.kept_step, weight) == (3, 3.0)


@pytest.mark.parametrize("patience, steps", [(1, 2), (2, 3)])
def test_patience_counts_validations_without_gain(patience, steps):
    scores = [0.8, 0.805, 0.801, 0.9]
    keeper, weight = walk(scores, stopping={"patience": patience, "min_gain": 0.01})
    assert keeper.stopped
    assert weight == steps


def test_scores_that_are_not_numbers_keep_the_first_step_they_have():
    keeper, _ = walk([float("nan"), float("nan")], keep="best")
    assert keeper.kept_step == 1
