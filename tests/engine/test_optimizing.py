import pytest
import torch
from torch import nn
from transformers import get_scheduler

from whichtune.engine.optimizing import Arithmetic, build_optimizer, build_schedule
from whichtune.errors import SpecError
from whichtune.spec.training import TrainingSpec


@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup"])
@pytest.mark.parametrize("warmup, warmup_steps", [(0.0, 0), (0.25, 5), (3, 3)])
def test_schedules_are_those_of_transformers(name, warmup, warmup_steps):
    def rates(build):
        optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))], lr=0.1)
        schedule = build(optimizer)
        found = []
        for _ in range(20):
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return found

    training = TrainingSpec(schedule=name.removesuffix("_with_warmup"), warmup=warmup)
    ours = rates(lambda optimizer: build_schedule(optimizer, training, 20))
    theirs = rates(lambda optimizer: get_scheduler(name, optimizer, warmup_steps, 20))
    assert ours == pytest.approx(theirs)


def test_matrices_decay_and_vectors_do_not():
    trained = {"weight": nn.Parameter(torch.ones(2, 2)), "bias": nn.Parameter(torch.ones(2))}
    groups = build_optimizer(trained, 0.1, TrainingSpec(weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.3, 1), (0.0, 1)]


def test_half_precision_needs_a_gpu():
    with pytest.raises(SpecError, match="float16 training needs a GPU"):
        Arithmetic("float16", torch.device("cpu"))
