import numpy as np
import pytest

from whichtune.engine.batches import order_rows, plan_steps, step_batches
from whichtune.models.batch import Encoded
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec


def encoded(rows=37):
    lengths = np.random.default_rng(0).integers(1, 9, rows)
    return Encoded(
        np.arange(lengths.sum(), dtype=np.int32), np.concatenate([[0], lengths.cumsum()]), np.zeros(rows, np.int64)
    )


@pytest.mark.parametrize("order", ["random", "by-length"])
def test_every_row_once_an_epoch(order):
    training = TrainingSpec(order=order, batch_size=8)
    rows = order_rows(encoded().lengths, training, Streams(1), 0)
    assert sorted(rows) == list(range(37))


def test_the_order_depends_on_seed_stream_and_epoch_alone():
    training, lengths = TrainingSpec(), encoded().lengths
    first = order_rows(lengths, training, Streams(1), 0)
    np.random.default_rng(5).permutation(10)
    assert np.array_equal(order_rows(lengths, training, Streams(1), 0), first)
    for streams, epoch in ((Streams(2), 0), (Streams(1, 1), 0), (Streams(1), 1), (Streams(0), 0)):
        assert not np.array_equal(order_rows(lengths, training, streams, epoch), first)


def test_by_length_pads_less():
    own = encoded(400)
    padding = {}
    for order in ("random", "by-length"):
        rows = order_rows(own.lengths, TrainingSpec(order=order, batch_size=8), Streams(1), 0)
        batches = own.lengths[rows].reshape(-1, 8)
        padding[order] = int((batches.max(axis=1, keepdims=True) - batches).sum())
    assert padding["by-length"] < padding["random"] / 3


def test_steps_hold_the_accumulated_batches():
    training = TrainingSpec(batch_size=8, accumulate=2)
    plan = plan_steps(37, training)
    assert (plan.per_epoch, plan.total) == (3, 9)
    steps = step_batches(encoded(), training, Streams(1))
    sizes = [[len(batch.rows) for batch in next(steps)] for _ in range(3)]
    assert sizes == [[8, 8], [8, 8], [5]]


@pytest.mark.parametrize("epochs, cap, total", [(0.5, None, 2), (2, 5, 5), (0.01, None, 1)])
def test_parts_of_epochs_and_caps(epochs, cap, total):
    assert plan_steps(37, TrainingSpec(batch_size=8, epochs=epochs, max_steps=cap)).total == total
