"""Two runs beside each other: what rounding explains, and what it does not."""

from dataclasses import replace

import numpy as np
import pytest

from whichtune.records.outcomes import (
    STEADY,
    compare_curves,
    compare_predictions,
    measure_apart,
    moved_splits,
    share_agreement,
)
from whichtune.records.predictions import Predictions

TOLERANCE = 1e-5


def make_table(rows=400, seed=0):
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet([1, 1], size=rows).astype(np.float32)
    labels = ("a", "b")
    return Predictions(
        split="test",
        ids=[f"r{row}" for row in range(rows)],
        gold=[labels[row % 2] for row in range(rows)],
        parsed=[labels[place] for place in shares.argmax(axis=1)],
        confidence=shares.max(axis=1),
        loss=-np.log(shares[:, 0]),
        probabilities=shares,
        gold_rank=np.zeros(rows, np.int16),
        tokens_in=np.full(rows, 7, np.int32),
        labels=labels,
    )


def flip(table, count):
    return replace(table, parsed=["other" if row < count else own for row, own in enumerate(table.parsed)])


def compare(left, right):
    return compare_predictions({"test": left}, {"test": right}, TOLERANCE)


def test_the_same_is_the_same_whatever_the_times():
    own = make_table()
    assert compare(own, replace(make_table(), batch_seconds=np.ones(400, np.float32))) == []


@pytest.mark.parametrize(("flips", "noise"), [(1, True), (2, True), (3, False)])
def test_answers_agree_on_995_rows_of_1000(flips, noise):
    own = make_table()
    (one,) = compare(own, flip(own, flips))
    assert (one.name, one.kind, one.differing, one.noise) == ("parsed", "answer", flips, noise)
    assert share_agreement({"test": own}, {"test": flip(own, flips)}) == 1 - flips / 400
    assert moved_splits([one]) == {"test"}


@pytest.mark.parametrize(("share", "noise"), [(0.5, True), (2, False)])
def test_numbers_may_lie_apart_by_the_tolerance_of_their_spread(share, noise):
    own = make_table()
    away = own.loss.astype(np.float64)
    away[5] += share * TOLERANCE * away.std()
    (one,) = compare(own, replace(own, loss=away))
    assert (one.name, one.kind, one.noise) == ("loss", "number", noise)
    assert one.distance == pytest.approx(share * TOLERANCE, rel=0.1)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"gold": ["b"] * 400}, "gold"),
        ({"tokens_in": np.full(400, 8, np.int32)}, "tokens_in"),
        ({"ids": [f"q{row}" for row in range(400)]}, "rows"),
        ({"labels": ("b", "a")}, "labels"),
        ({"probabilities": None}, "probabilities"),
        ({"gold_rank": np.ones(400, np.int16)}, "gold_rank"),
        ({"loss": np.full(400, np.nan, np.float32)}, "loss"),
    ],
)
def test_what_no_rounding_moves_is_never_noise(change, name):
    (one,) = compare(make_table(), replace(make_table(), **change))
    assert (one.name, one.noise) == (name, False)


def test_ranks_may_move_where_probabilities_did():
    own = make_table()
    moved = own.probabilities.copy()
    moved[0] += np.float32(1e-7)
    found = compare(own, replace(own, probabilities=moved, gold_rank=np.eye(1, 400, dtype=np.int16)[0]))
    assert [(one.name, one.noise) for one in found] == [("probabilities", True), ("gold_rank", True)]


def test_missing_splits_and_rows_are_told():
    own = make_table()
    (one,) = compare_predictions({"test": own}, {}, TOLERANCE)
    assert (one.name, one.noise) == ("splits", False)
    (one,) = compare(own, make_table(399))
    assert one.example == "400 -> 399"
    assert share_agreement({"test": own}, {"test": make_table(399)}) is None


def test_steady_numbers_are_measured_by_their_size_and_no_number_by_nothing():
    steady = np.full(10, 4.0)
    assert measure_apart(steady, steady + 1e-6).distance == pytest.approx(1e-6 / (STEADY * 4))
    nothing = np.array([np.nan, 1.0])
    assert measure_apart(nothing, nothing.copy()).differing == 0
    assert measure_apart(nothing, np.ones(2)) == measure_apart(np.ones(2), nothing)
    assert measure_apart(nothing, np.ones(2)).distance is None


def step(number, **more):
    return {"step": number, "loss": 1.0 / number, "learning_rate": 0.1, "gradient_norm": 2.0} | more


def check(number, score):
    return {"step": number, "validation_score": score, "validation": {"accuracy": score}}


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ([step(1), step(2), check(2, 0.5)], []),
        ([step(1), step(2, loss=0.5 + 1e-7), check(2, 0.5)], [("loss", True)]),
        ([step(1), step(2, loss=0.6), check(2, 0.5)], [("loss", False)]),
        ([step(1), step(2, loss=None), check(2, 0.5)], [("loss", False)]),
        ([step(1), step(2, learning_rate=0.1 + 1e-9), check(2, 0.5)], [("learning_rate", False)]),
        ([step(1), step(2)], [("lines", False)]),
        (
            [step(1), step(2), check(2, 0.6)],
            [("validation at step 2: score", False), ("validation at step 2: accuracy", False)],
        ),
        (
            [step(1), step(2, loss=0.5 + 1e-7), check(2, 0.6)],
            [("loss", True), ("validation at step 2: score", True), ("validation at step 2: accuracy", True)],
        ),
    ],
)
def test_curves(again, expected):
    found = compare_curves([step(1), step(2), check(2, 0.5)], again, TOLERANCE)
    assert [(one.name, one.noise) for one in found] == expected


def test_a_validation_may_move_where_a_pass_was_shared_though_no_loss_shows_it():
    found = compare_curves([step(1), check(1, 0.5)], [step(1), check(1, 0.6)], TOLERANCE, shared=True)
    assert found
    assert all(one.noise for one in found)
