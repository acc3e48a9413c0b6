from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whichtune.data.examples import Example
from whichtune.data.splitting import apportion, cut_splits, draw_order, take
from whichtune.spec.sources import SplitSpec

SHARES = {"validation": 0.15, "test": 0.25}


def make(counts):
    """Examples with ids of their own, labels mixed."""
    golds = [label for label, count in counts.items() for _ in range(count)]
    return [Example(f"row-{place}", "all", "t", gold, "o") for place, gold in enumerate(golds)]


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1)


@given(counts, st.integers(0, 5))
def test_every_row_has_one_split_and_each_label_its_share(labels, seed):
    examples = make(labels)
    parts = cut_splits(examples, SHARES, SplitSpec(seed=seed))
    ids = [example.id for part in parts.values() for example in part]
    assert sorted(ids) == sorted(example.id for example in examples)
    assert {name: len(part) for name, part in parts.items()} == apportion(len(examples), {**SHARES, "train": 0.6})
    for name, share in {**SHARES, "train": 0.6}.items():
        found = Counter(example.gold for example in parts[name])
        for label, count in labels.items():
            # A part lies between two beginnings of the drawing order, and its size is rounded by less than a row.
            own = count / len(examples)
            assert abs(found[label] - share * count) <= 1 + own * (len(labels) + 1)
        assert all(example.split == name for example in parts[name])


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(5, 60), min_size=1))
@example({"a": 5, "b": 5})
def test_every_label_of_five_rows_is_trained(labels):
    parts = cut_splits(make(labels), SHARES, SplitSpec())
    assert {example.gold for example in parts["train"]} == set(labels)


def test_the_order_of_rows_does_not_matter():
    examples = make({"a": 40, "b": 13})
    parts, turned = (cut_splits(rows, SHARES, SplitSpec()) for rows in (examples, examples[::-1]))
    for name in parts:
        assert {example.id for example in parts[name]} == {example.id for example in turned[name]}


def test_another_seed_cuts_otherwise_and_the_same_alike():
    examples = make({"a": 50, "b": 50})
    first, again, other = (
        [example.id for example in cut_splits(examples, SHARES, SplitSpec(seed=seed))["test"]] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_rows_keep_their_order():
    examples = make({"a": 30, "b": 30})
    places = {example.id: place for place, example in enumerate(examples)}
    for part in cut_splits(examples, SHARES, SplitSpec()).values():
        found = [places[example.id] for example in part]
        assert found == sorted(found)


@given(counts, st.integers(1, 100), st.integers(1, 100))
@example({"a": 1, "b": 1, "c": 1, "d": 7}, 1, 4)
def test_a_smaller_size_is_part_of_a_larger_one_and_stratified(labels, one, two):
    examples = make(labels)
    small, large = (take(examples, size, SplitSpec()) for size in sorted((one, two)))
    assert {example.id for example in small} <= {example.id for example in large}
    assert len(large) == min(max(one, two), len(examples))
    found = Counter(example.gold for example in large)
    for label, count in labels.items():
        share = count / len(examples)
        assert abs(found[label] - share * len(large)) <= 0.5 + share * len(labels) / 2 + 1e-9


def test_no_size_takes_all():
    examples = make({"a": 3})
    assert take(examples, None, SplitSpec()) == examples


def test_without_stratification_the_draw_ignores_labels():
    examples = make({"a": 50, "b": 50})
    relabelled = [Example(example.id, "all", "t", "ab"[place % 2], "o") for place, example in enumerate(examples)]
    plain = SplitSpec(stratify=False)
    assert draw_order(examples, plain, "cut") == draw_order(relabelled, plain, "cut")
    assert draw_order(examples, SplitSpec(), "cut") != draw_order(relabelled, SplitSpec(), "cut")


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 0.3), min_size=1, max_size=3))
def test_shares_add_up(total, shares):
    asked = {str(place): share for place, share in enumerate(shares)} | {"rest": 1 - sum(shares)}
    found = apportion(total, asked)
    assert sum(found.values()) == total
    assert all(abs(found[name] - share * total) < 1 + 1e-6 for name, share in asked.items())


@pytest.mark.parametrize(
    ("total", "expected"),
    [(100, {"v": 15, "t": 25, "r": 60}), (10, {"v": 2, "t": 2, "r": 6}), (1, {"v": 0, "t": 0, "r": 1})],
)
def test_the_largest_remainders_get_the_rest(total, expected):
    assert apportion(total, {"v": 0.15, "t": 0.25, "r": 0.6}) == expected
