"""Nearest rows: against brute force in double precision, whatever the order of the items."""

import numpy as np
import pytest

from whichtune.data.examples import Example
from whichtune.engine.embedding import How, embed_texts
from whichtune.engine.neighbours import make_neighbours, rank_nearest, read_together
from whichtune.prompts.choosing import Chooser, make_pool
from whichtune.spec.prompts import ShotsSpec
from whichtune.spec.seeds import Streams


def example(name, text, pair=None, gold="x"):
    return Example(name, "train", text, gold, f"here:{name}", pair)


WORDS = ["one fine film", "a dull film", "grim", "great, great", "a film", "it rains", "one fine film", "awful plot"]
POOL = make_pool([example(f"train:{number}", text) for number, text in enumerate(WORDS)])
ITEMS = [example("test:0", "a fine film"), example("test:1", "rain"), example("test:2", "grim"), example("a", "x", "y")]
TABLE = {"near": [1.0, 0.0], "far": [0.0, 1.0], "between": [2.0, 2.0], "none": [0.0, 0.0], "item": [3.0, 0.1]}


def by_table(texts):
    return np.array([TABLE[text] for text in texts])


@pytest.fixture(scope="module")
def embed(tiny_backbone, tmp_path_factory):
    backbone, cache = tiny_backbone("bert"), tmp_path_factory.mktemp("cache")
    return lambda texts: embed_texts(backbone, texts, How(max_length=32, batch_size=3), cache)


def test_the_order_is_that_of_the_cosine(embed):
    find = make_neighbours(POOL, embed, ITEMS)
    unit = {text: embed([text])[0].astype(np.float64) for text in {read_together(one) for one in (*POOL.rows, *ITEMS)}}
    for item in ITEMS:
        near = {one.id: round(float(unit[one.text] @ unit[read_together(item)]), 4) for one in POOL.rows}
        expected = sorted(near, key=lambda name: (-near[name], name))
        for count in (0, 1, 3, len(near)):
            assert list(find(item, count)) == expected[:count]
        assert list(find(item, 99)) == expected
    assert find(ITEMS[2], 1) == ["train:2"], "a copy is nearest"


def test_lengths_do_not_matter_and_equally_near_rows_stand_by_id():
    names = {"c": "near", "b": "between", "a": "far", "e": "near", "d": "none", "f": "between"}
    pool = make_pool([example(name, text) for name, text in names.items()])
    item = example("i", "item")
    find = make_neighbours(pool, by_table, [item])
    assert find(item, 6) == ["c", "e", "b", "f", "a", "d"]
    assert find(item, 3) == ["c", "e", "b"]


def test_noise_of_a_batch_does_not_change_an_order():
    pool = make_pool([example(f"{number:02d}", text) for number, text in enumerate(["near", "far", "between"] * 8)])
    item = example("i", "item")
    draw = np.random.default_rng(0)

    def noisy(texts):
        return by_table(texts) + draw.normal(0, 1e-7, (len(texts), 2))

    assert len({tuple(make_neighbours(pool, noisy, [item])(item, 24)) for _ in range(20)}) == 1
    values = np.array([0.5, 0.5 + 2e-7, 0.5 - 2e-7, 0.7])
    assert rank_nearest(values, 4).tolist() == [3, 0, 1, 2]
    assert rank_nearest(values, 2).tolist() == [3, 0]


def test_neither_order_nor_company_of_the_items_matters(embed):
    whole = make_neighbours(POOL, embed, ITEMS)
    turned = make_neighbours(POOL, embed, [*ITEMS[::-1], ITEMS[0]])
    for item in ITEMS:
        alone = make_neighbours(POOL, embed, [item])
        assert list(whole(item, 8)) == list(turned(item, 8)) == list(alone(item, 8))


def test_texts_are_embedded_twice_in_all_and_each_once():
    asked = []

    def embed(texts):
        asked.append(list(texts))
        return np.ones((len(texts), 2))

    items = [example("1", "b"), example("2", "a"), example("3", "b"), example("4", "b", "c")]
    find = make_neighbours(POOL, embed, items)
    for item in items:
        find(item, 2)
    assert asked == [sorted(set(WORDS)), ["a", "b", "b\nc"]]


def test_a_row_that_was_not_announced_and_an_empty_pool(embed):
    find = make_neighbours(POOL, embed, ITEMS[:1])
    with pytest.raises(ValueError, match=r"here:test:1: not among the items"):
        find(ITEMS[1], 1)
    assert make_neighbours(make_pool([]), embed, ITEMS)(ITEMS[0], 3) == []


@pytest.mark.parametrize("balanced", [True, False])
def test_a_chooser_takes_them(embed, balanced):
    pool = make_pool([example(f"train:{at}", text, gold="ab"[at % 2]) for at, text in enumerate(WORDS)])
    spec = ShotsSpec(count=3, choice="nearest", balanced=balanced)
    chooser = Chooser(pool, spec, 3, Streams(1, 0), make_neighbours(pool, embed, ITEMS))
    nearest = make_neighbours(pool, embed, ITEMS)
    chosen = [one.id for one in chooser.choose(ITEMS[0])]
    assert len(chosen) == 3
    assert chosen[-1] == nearest(ITEMS[0], 1)[0]
    if not balanced:
        assert chosen == list(nearest(ITEMS[0], 3))[::-1]
