import numpy as np
import pytest

from whichtune.bench.model import Marks, SideRun
from whichtune.bench.parity import compare_marks, compare_sides, worst_of

IDS = tuple(f"t{place}" for place in range(200))


def marks(*accuracies, binary=True):
    """So many right answers a training, the first rows being right."""
    rows = [np.arange(len(IDS)) < round(share * len(IDS)) for share in accuracies]
    return Marks(IDS, np.stack(rows).astype(np.float64), binary)


def side(steps=25, tokens=900, **candidates):
    names = list(candidates)
    return SideRun(1.0, 1, 1, dict.fromkeys(names, frozenset({steps})), dict.fromkeys(names, tokens), dict(candidates))


def faults(own, other):
    return [one.fault for one in compare_sides(own, other)]


def test_equal_sides_agree():
    assert faults(side(lora=marks(0.8, 0.81)), side(lora=marks(0.8, 0.81))) == [""]


def test_a_side_that_trains_less_fails():
    (fault,) = faults(side(lora=marks(0.8)), side(steps=24, lora=marks(0.8)))
    assert "25 steps against 24" in fault


def test_a_side_that_reads_less_fails():
    (fault,) = faults(side(lora=marks(0.8)), side(tokens=899, lora=marks(0.8)))
    assert "900 test tokens against 899" in fault


def test_a_side_that_ends_worse_fails_whichever_it_is():
    good, bad = side(lora=marks(0.80, 0.80)), side(lora=marks(0.55, 0.55))
    assert "0.25 apart" in faults(good, bad)[0]
    assert "0.25 apart" in faults(bad, good)[0]


def test_within_the_margin_is_alike():
    assert faults(side(lora=marks(0.800)), side(lora=marks(0.785))) == [""]


def test_trainings_that_lie_far_apart_allow_more():
    _, _, steady = compare_marks(marks(0.80, 0.80, 0.80), marks(0.80, 0.80, 0.80), 0.95)
    _, _, moving = compare_marks(marks(0.70, 0.80, 0.90), marks(0.70, 0.80, 0.90), 0.95)
    assert moving > 3 * steady


def test_one_training_borrows_the_spread_of_the_other_side():
    _, _, alone = compare_marks(marks(0.80, 0.80), marks(0.80), 0.95)
    _, _, lent = compare_marks(marks(0.70, 0.90), marks(0.80), 0.95)
    assert lent > 3 * alone


def test_losses_are_compared_as_shares():
    own, other = (Marks(IDS, np.full((1, len(IDS)), value), False) for value in (-2.00, -2.03))
    assert compare_marks(own, other, 0.95)[2] == pytest.approx(0.02 * 2.03)
    assert faults(side(lora=own), side(lora=other)) == [""]
    assert faults(side(lora=own), side(lora=Marks(IDS, other.values - 0.1, False)))[0]


def test_a_candidate_that_the_peer_left_out_is_no_agreement():
    (found,) = compare_sides(side(lora=marks(0.8)), side())
    assert found.fault
    assert worst_of([found]) is None
