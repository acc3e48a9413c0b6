"""Chains of subsets: nested, drawn by seed, with the labels' shares; the test split is never touched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichtune.data.chains import LABELLED, count_labelled, draw_chain, require_sizes, share_out, subset
from whichtune.data.examples import DataReport, DataSet, Example
from whichtune.errors import DataError
from whichtune.spec.sources import SplitSpec

SPLIT = SplitSpec()


def make_data(train=60, validation=20, test=30, labels=("a", "b")):
    counts = {"train": train, "validation": validation, "test": test}
    examples = {
        name: tuple(
            Example(f"{name}-{row}", name, f"text {row}", labels[row % len(labels)], f"x.csv:{row}")
            for row in range(count)
        )
        for name, count in counts.items()
    }
    return DataSet(examples, labels, "print", DataReport("x", {}))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 78), st.integers(1, 40), st.integers(0, 5))
def test_a_smaller_subset_is_part_of_every_larger_one_of_its_chain(size, more, seed):
    data = make_data()
    larger = min(79, size + more)
    small, large = (draw_chain(data, rows, seed, SPLIT) for rows in (size, larger))
    for name in LABELLED:
        assert set(small[name]) <= set(large[name])
        assert list(small[name]) == sorted(small[name])
    assert sum(len(small[name]) for name in LABELLED) == size
    assert all(len(small[name]) >= 1 for name in LABELLED)
    assert len(small["test"]) == 30


def test_validation_rows_count_as_labels_in_the_shares_of_the_whole():
    data = make_data()
    assert count_labelled(data) == 80
    assert share_out(40, data) == (30, 10)
    assert share_out(2, data) == (1, 1)
    assert share_out(8, make_data(train=79, validation=1)) == (7, 1)


def test_each_seed_draws_another_chain_and_the_same_one_again():
    data = make_data()
    chains = [tuple(draw_chain(data, 20, seed, SPLIT)["train"]) for seed in (1, 2, 1)]
    assert chains[0] == chains[2] != chains[1]


def test_a_subset_holds_the_shares_of_the_labels():
    data = make_data()
    own = subset(data, draw_chain(data, 20, 1, SPLIT))
    golds = [one.gold for one in own.examples["train"]]
    assert len(golds) == 15
    assert abs(golds.count("a") - golds.count("b")) <= 1
    assert own.labels == data.labels
    assert own.examples["test"] == data.examples["test"]


def test_order_of_rows_decides_nothing():
    data = make_data()
    turned = DataSet({name: rows[::-1] for name, rows in data.examples.items()}, data.labels, "", data.report)
    left, right = (subset(one, draw_chain(one, 20, 3, SPLIT)).examples["train"] for one in (data, turned))
    assert {one.id for one in left} == {one.id for one in right}


@pytest.mark.parametrize("size", [80, 5000])
def test_sizes_that_the_data_do_not_have_are_refused(size):
    with pytest.raises(DataError, match="not so many labelled rows") as caught:
        require_sizes([10, size], make_data())
    assert "79" in str(caught.value)
    assert "data.sizes.train" in str(caught.value)
    require_sizes([10, 79], make_data())


def test_places_are_whole_numbers():
    assert draw_chain(make_data(), 2, 1, SPLIT)["validation"].dtype == np.int64
