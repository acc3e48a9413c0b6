import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichtune.data.examples import Example
from whichtune.errors import DataError
from whichtune.prompts.choosing import Chooser, make_pool
from whichtune.spec.prompts import ShotsSpec
from whichtune.spec.seeds import Streams


def by_length(rows):
    """Neighbours by the difference of the lengths of texts, equally near ones by id."""

    def neighbours(item, count):
        near = sorted(rows, key=lambda one: (abs(len(one.text) - len(item.text)), one.id))
        return [one.id for one in near[:count]]

    return neighbours


def choose(rows, item, count=4, choice="fixed", balanced=True, seed=0):
    spec = ShotsSpec(choice=choice, balanced=balanced)
    return Chooser(make_pool(rows), spec, count, Streams(seed), by_length(rows)).choose(item)


CHOICES = st.sampled_from(["fixed", "per-item", "nearest"])


@settings(max_examples=40, deadline=None)
@given(CHOICES, st.booleans(), st.integers(0, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_order_of_the_pool_and_of_the_rows_changes_nothing(make_rows, choice, balanced, count, seed, draw):
    rows, items = make_rows(14, ("a", "b", "c")), make_rows(6, prefix="test")
    expected = {one.id: choose(rows, one, count, choice, balanced, seed) for one in items}
    shuffled, some = draw.sample(rows, len(rows)), draw.sample(items, 3)
    assert {one.id: choose(shuffled, one, count, choice, balanced, seed) for one in some} == {
        one.id: expected[one.id] for one in some
    }


@settings(max_examples=40, deadline=None)
@given(CHOICES, st.booleans(), st.integers(1, 5), st.integers(0, 13), st.integers(0, 5))
def test_a_row_is_never_its_own_example(make_rows, choice, balanced, count, place, seed):
    rows = make_rows(14)
    chosen = choose(rows, rows[place], count, choice, balanced, seed)
    assert rows[place] not in chosen
    assert len({one.id for one in chosen}) == count
    twin = Example("test:9", "test", rows[place].text, None, "b.csv:9")
    assert rows[place] not in choose(rows, twin, count, choice, balanced, seed)


def test_the_next_of_the_draw_replaces_the_row_itself(make_rows):
    rows = make_rows()
    chooser = Chooser(make_pool(rows), ShotsSpec(balanced=False), 4, Streams(0))
    fixed = chooser.fixed()
    assert chooser.choose(make_rows(1, prefix="test")[0]) == fixed
    without = chooser.choose(fixed[1])
    assert without[:3] == (fixed[0], fixed[2], fixed[3])
    assert without[3] not in fixed


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["fixed", "per-item"]), st.integers(0, 9), st.integers(0, 4))
def test_a_balanced_draw_has_each_label_to_within_one(make_rows, choice, count, seed):
    rows = [*make_rows(20, ("a",)), *make_rows(6, ("b",), "x"), *make_rows(5, ("c",), "y")]
    counts = Counter(one.gold for one in choose(rows, make_rows(1, prefix="test")[0], count, choice, True, seed))
    assert sum(counts.values()) == count
    assert max(counts.values(), default=0) - min((counts[label] for label in "abc"), default=0) <= 1


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["fixed", "per-item"]), st.booleans(), st.integers(1, 8), st.integers(0, 4))
def test_a_smaller_draw_is_the_beginning_of_a_larger_one(make_rows, choice, balanced, count, seed):
    rows, item = make_rows(20), make_rows(1, prefix="test")[0]
    larger = choose(rows, item, 9, choice, balanced, seed)
    assert choose(rows, item, count, choice, balanced, seed) == larger[:count]


def test_seed_stream_pool_and_row_each_change_the_draw(make_rows):
    rows, items = make_rows(40), make_rows(2, prefix="test")
    drawn = {choose(rows, items[0], seed=seed) for seed in range(5)}
    drawn |= {choose(rows[:-1], items[0])}
    spec = ShotsSpec()
    drawn |= {Chooser(make_pool(rows), spec, 4, Streams(0, 1)).choose(items[0])}
    assert len(drawn) == 7
    assert choose(rows, items[0]) == choose(rows, items[1])
    assert choose(rows, items[0], choice="per-item") != choose(rows, items[1], choice="per-item")


def test_every_row_is_drawn_as_often(make_rows):
    rows, items = make_rows(10), make_rows(2000, prefix="test")
    counts = Counter(one.id for item in items for one in choose(rows, item, 2, "per-item", False))
    assert len(counts) == 10
    assert all(abs(count - 400) < 90 for count in counts.values())


def test_the_nearest_stands_last_whatever_copies_are_in_front():
    rows = [Example(str(n), "train", "x" * n, "ab"[n % 2], f"a:{n}") for n in range(1, 30)]
    item = Example("t", "test", "x" * 10, None, "b:1")
    near = choose(rows, item, 3, "nearest", balanced=False)
    assert [one.id for one in near] == ["12", "9", "11"]
    copies = [Example(f"c{n:02}", "train", item.text, "a", f"c:{n}") for n in range(40)]
    assert choose([*rows, *copies], item, 3, "nearest", balanced=False) == near
    assert Counter(one.gold for one in choose(rows, item, 4, "nearest")) == {"a": 2, "b": 2}


def test_rows_without_a_label_are_no_examples_and_too_few_are_told(make_rows):
    rows = make_rows(3)
    pool = make_pool([*rows, Example("z", "train", "text", None, "a.csv:9")])
    assert len(pool.rows) == 3
    with pytest.raises(DataError, match="4 examples are asked for, the pool has 3"):
        Chooser(pool, ShotsSpec(), 4, Streams(0))
    with pytest.raises(DataError, match="the pool has 2 besides the row"):
        Chooser(pool, ShotsSpec(), 3, Streams(0)).choose(rows[0])
    with pytest.raises(DataError, match="same id"):
        make_pool([rows[0], rows[0]])
    with pytest.raises(ValueError, match="nearest"):
        Chooser(pool, ShotsSpec(choice="nearest"), 1, Streams(0))


def test_the_fingerprint_follows_content_alone(make_rows):
    rows = make_rows()
    assert make_pool(random.Random(0).sample(rows, 12)).fingerprint == make_pool(rows).fingerprint
    assert make_pool(rows[1:]).fingerprint != make_pool(rows).fingerprint


def test_a_draw_is_what_it_always_was(make_rows):
    chosen = choose(make_rows(40), make_rows(1, prefix="test")[0], 4)
    assert [one.id for one in chosen] == ["train:13", "train:34", "train:4", "train:29"]
