"""Sizes of batches, and laws found on a few of them."""

import numpy as np
import pytest

from whichtune.engine.batches import step_batches
from whichtune.engine.shapes import Shape, choose_samples, fit_law, list_evaluation, list_steps, shape_rows
from whichtune.models.batch import Encoded
from whichtune.spec.seeds import Streams
from whichtune.spec.training import TrainingSpec


def make_rows(lengths, starts=None):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.ones(offsets[-1], np.int32)
    return Encoded(ids, offsets, np.zeros(len(lengths), np.int64), starts=starts)


LENGTHS = [7, 3, 9, 4, 4, 12, 5, 8, 6, 3]


@pytest.mark.parametrize("order", ["random", "by-length"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_are_those_of_the_training(order, accumulate):
    encoded, streams = make_rows(LENGTHS), Streams(5)
    training = TrainingSpec(batch_size=4, epochs=2, order=order, accumulate=accumulate)
    steps, times = list_steps(encoded, training, streams)
    real = step_batches(encoded, training, streams)
    for step in steps:
        assert [(one.rows, one.width) for one in step] == [tuple(batch.ids.shape) for batch in next(real)]
    assert sum(batch.rows for step in steps for batch in step) == len(LENGTHS)
    assert times == 2


def test_a_training_shorter_than_an_epoch_counts_its_steps():
    steps, times = list_steps(make_rows(LENGTHS), TrainingSpec(batch_size=2, max_steps=3), Streams(1))
    assert (len(steps), times) == (3, 1)


def test_answers_are_scored_token_by_token():
    encoded = make_rows([6, 9], np.array([4, 4]))
    assert shape_rows(encoded, [0, 1]) == Shape(2, 9, 7)
    assert shape_rows(make_rows([6, 9]), [0, 1]) == Shape(2, 9, 2)


def test_evaluation_takes_like_lengths_together():
    assert [one.width for one in list_evaluation(make_rows(LENGTHS), 4)] == [12, 6, 3]


def test_a_law_holds_beyond_the_batches_it_was_found_on():
    starts = np.array(LENGTHS) - 1 - np.arange(10) % 2
    encoded = make_rows(LENGTHS, starts)

    def cost(shape):
        return 1e9 * shape.rows * shape.width + 3e6 * shape.rows * shape.width**2 + 7e8 + 5e8 * shape.scored

    shapes = [shape_rows(encoded, rows) for rows in choose_samples(encoded)]
    law = fit_law(shapes, [cost(one) for one in shapes])
    assert law(Shape(64, 500, 90)) == pytest.approx(cost(Shape(64, 500, 90)), rel=1e-5)
    assert law.total(shapes) == pytest.approx(sum(map(cost, shapes)), rel=1e-9)


@pytest.mark.parametrize("lengths", [[5] * 8, [5], [5, 9]])
def test_rows_that_leave_terms_open_are_still_foretold(lengths):
    encoded = make_rows(lengths)
    shapes = [shape_rows(encoded, rows) for rows in choose_samples(encoded)]
    law = fit_law(shapes, [100.0 * one.cells for one in shapes])
    everything = shape_rows(encoded, range(len(lengths)))
    assert law(everything) == pytest.approx(100.0 * everything.cells, rel=1e-6)


def test_no_figure_is_below_nothing():
    assert fit_law([Shape(1, 2, 1), Shape(2, 2, 2)], [0.0, 0.0])(Shape(3, 3, 3)) == 0
