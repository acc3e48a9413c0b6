import pytest

from whichtune.bench.alternate import alternate


def test_sides_run_in_turn_and_in_the_opposite_order_every_second_round():
    order = []

    def side(name, seconds):
        return lambda: order.append(name) or seconds.pop(0)

    compared = alternate({"peer": side("peer", [6.0, 8.0, 30.0]), "own": side("own", [3.0, 2.0, 10.0])}, 3)
    assert order == ["peer", "own", "own", "peer", "peer", "own"]
    assert compared.ratios("peer") == [2.0, 4.0, 3.0]
    assert compared.ratio("peer") == 3.0
    assert compared.ratio("own") == 1.0


@pytest.mark.parametrize("sides, rounds", [(("a",), 1), (("a", "b"), 0)])
def test_too_little_to_compare_is_refused(sides, rounds):
    with pytest.raises(ValueError, match="at least two sides and one round"):
        alternate(dict.fromkeys(sides, lambda: 1.0), rounds)
