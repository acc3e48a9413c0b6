"""What each epoch and each batch holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichtune.engine.batches import draw_rows, order_rows, step_batches
from whichtune.engine.sampling import balance, stratify
from whichtune.models.batch import Encoded
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec

TARGETS = np.array([0] * 61 + [1] * 30 + [2] * 6 + [3] * 2)


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def counts(rows, targets):
    return np.array([(targets[rows] == label).sum() for label in np.unique(targets)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=120), st.integers(1, 20), st.integers(0, 3))
def test_stratified_batches_have_the_shares(targets, size, epoch):
    targets = np.array(targets)
    order = stratify(targets, size, Streams(1), epoch)
    assert sorted(order) == list(range(len(targets))), "every row once"
    full = len(targets) // size
    for rows in batches(order, size)[:full]:
        shares = counts(np.arange(len(targets)), targets) * size / len(targets)
        assert (abs(counts(rows, targets) - shares) < 1 + 1 / full).all()
    last = order[full * size :]
    shares = counts(np.arange(len(targets)), targets) * len(last) / len(targets)
    assert (abs(counts(last, targets) - shares) < 1).all()


def test_stratified_shares_by_hand():
    order = stratify(np.array([0] * 60 + [1] * 30 + [2] * 6), 16, Streams(1), 0)
    for rows in batches(order, 16):
        found = counts(rows, np.array([0] * 60 + [1] * 30 + [2] * 6))
        assert tuple(found) == (10, 5, 1), "96 rows in 6 batches: 10, 5 and 1 of each"


def test_shuffled_batches_do_not_have_the_shares():
    order = draw_rows(encoded(TARGETS), TrainingSpec(), Streams(1), 0)
    spread = {tuple(counts(rows, TARGETS)) for rows in batches(order, 16)[:-1]}
    assert len(spread) > 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 20), st.integers(1, 6))
def test_balanced_epochs_draw_all_classes_alike(targets, size, epochs):
    targets = np.array(targets)
    labels = np.unique(targets)
    drawn = [balance(targets, size, Streams(3), epoch) for epoch in range(epochs)]
    for order in drawn:
        assert len(order) == len(targets)
        found = counts(order, targets)
        assert found.max() - found.min() <= 1
    for label in labels:
        rows = np.concatenate([order[targets[order] == label] for order in drawn])
        times = np.bincount(rows, minlength=len(targets))[targets == label]
        assert times.max() - times.min() <= 1, "no row comes again before every other of its class has come"


def test_balanced_batches_hold_all_classes():
    order = balance(TARGETS, 16, Streams(1), 0)
    for rows in batches(order, 16)[:-1]:
        assert set(counts(rows, TARGETS)) <= {3, 4, 5}


@pytest.mark.parametrize("draw", [stratify, balance])
def test_the_order_depends_on_seed_stream_and_epoch_alone(draw):
    first = draw(TARGETS, 16, Streams(1), 2)
    np.random.default_rng(5).permutation(10)
    draw(TARGETS, 16, Streams(1), 7)
    assert np.array_equal(draw(TARGETS, 16, Streams(1), 2), first)
    for streams, epoch in ((Streams(2), 2), (Streams(1, 1), 2), (Streams(1), 1)):
        assert not np.array_equal(draw(TARGETS, 16, streams, epoch), first)


def encoded(targets):
    offsets = np.arange(len(targets) + 1)
    return Encoded(np.arange(len(targets), dtype=np.int32), offsets, targets.astype(np.int64))


@pytest.mark.parametrize("sampling, draw", [("stratified", stratify), ("balanced", balance)])
def test_steps_follow_the_sampling(sampling, draw):
    training = TrainingSpec(sampling=sampling, batch_size=16)
    steps = step_batches(encoded(TARGETS), training, Streams(1))
    for epoch in range(2):
        order = draw(TARGETS, 16, Streams(1), epoch)
        assert np.concatenate([next(steps)[0].rows for _ in range(7)]).tolist() == order.tolist()


def test_the_default_is_the_order_it_was():
    own = encoded(TARGETS)
    training = TrainingSpec()
    assert np.array_equal(draw_rows(own, training, Streams(1), 0), order_rows(own.lengths, training, Streams(1), 0))
