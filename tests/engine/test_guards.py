import pytest
import torch

from whichtune.engine.guards import (
    MOST_OVERFLOWS,
    GradientWatch,
    Overflows,
    fitting_in_memory,
    require_finite,
    require_only,
)
from whichtune.errors import DeadGradientError, DoesNotFitError, NonFiniteError, TrialError

CPU = torch.device("cpu")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_said_and_the_batch_is_left_alone(error):
    with pytest.raises(DoesNotFitError, match="at this batch size"), fitting_in_memory(CPU):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), fitting_in_memory(CPU):
        raise RuntimeError("wrong shape")


def test_what_is_not_a_number_is_named_with_its_step():
    require_finite(1.0, 2.0, 3)
    with pytest.raises(NonFiniteError, match="loss became nan at step 3"):
        require_finite(float("nan"), 1.0, 3)
    with pytest.raises(NonFiniteError, match="gradient norm became inf at step 4"):
        require_finite(1.0, float("inf"), 4)


def test_the_optimizer_holds_exactly_what_is_declared():
    first, second = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    require_only(torch.optim.AdamW([first, second]), {"a": first, "b": second})
    for held, declared in (([first], {"a": first, "b": second}), ([first, second], {"a": first})):
        with pytest.raises(TrialError, match="other tensors"):
            require_only(torch.optim.AdamW(held), declared)


def test_a_scaled_loss_may_overflow_now_and_then_but_not_for_ever():
    overflows = Overflows(scaled=True)
    assert not overflows.allow(1.0, float("inf"), 1)
    assert overflows.allow(1.0, 2.0, 2)
    assert (overflows.skipped, overflows.running) == (1, 0)
    for step in range(MOST_OVERFLOWS):
        assert not overflows.allow(1.0, float("nan"), step)
    with pytest.raises(NonFiniteError):
        overflows.allow(1.0, float("nan"), 99)
    with pytest.raises(NonFiniteError):
        Overflows(scaled=True).allow(float("nan"), 1.0, 1)
    with pytest.raises(NonFiniteError):
        Overflows(scaled=False).allow(1.0, float("inf"), 1)


def test_a_short_run_with_a_dead_tensor_is_told_at_its_end():
    watch = GradientWatch({"dead": torch.nn.Parameter(torch.ones(2))})
    watch.look()
    watch.finish()
    watch.look()
    watch.look()
    with pytest.raises(DeadGradientError, match="dead"):
        watch.finish()
