import random
from itertools import combinations

import numpy as np
import pytest

from whichtune.data.duplicates import count_conflicts, count_duplicates, find_families, mark_duplicates
from whichtune.data.examples import Example
from whichtune.data.shingles import NGRAM, normalise

LONG = "this is a rather long sentence about a film that nobody in the room had really wanted to see"


def grams(text):
    return {text[place : place + NGRAM] for place in range(max(1, len(text) - NGRAM + 1))}


def by_force(texts, threshold):
    """The family of each text, by comparing all pairs of sets of strings and joining what is alike."""
    sets = [grams(normalise(text)) for text in texts]
    family = list(range(len(texts)))
    for left, right in combinations(range(len(texts)), 2):
        if len(sets[left] & sets[right]) >= threshold * len(sets[left] | sets[right]):
            old, new = family[right], family[left]
            family = [new if own == old else own for own in family]
    return family


def same_partition(left, right):
    return len(set(zip(left, right, strict=True))) == len(set(left)) == len(set(right))


def make_texts(count, seed):
    """Random texts, of which a third are changed copies of earlier ones."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        if texts and draw.random() < 0.35:
            letters = list(draw.choice(texts))
            for _ in range(draw.randint(0, 5)):
                letters[draw.randrange(len(letters))] = draw.choice("XYZ")
            texts.append("".join(letters))
        else:
            texts.append("".join(draw.choices("abcdefgh ", k=draw.randint(30, 150))))
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_families_are_those_of_comparing_all_pairs(make_examples, threshold, seed):
    texts = make_texts(250, seed)
    found = find_families({"train": make_examples(texts)}, threshold)
    expected = by_force(texts, threshold)
    assert len(set(expected)) < len({normalise(text) for text in texts}) or threshold == 1.0
    assert same_partition(found.families["train"].tolist(), expected)


def test_exact_copies_are_those_of_folded_text(make_examples):
    texts = ["A  film", "a film", "another", "A FILM\n", "", " "]
    numbers = find_families({"train": make_examples(texts)}, 0.8).texts["train"].tolist()
    assert same_partition(numbers, [normalise(text) for text in texts])


def test_counts_within_and_across(make_examples):
    near = LONG.replace("film", "play")
    splits = {
        "train": make_examples([LONG, LONG.upper(), near, "alone"], split="train"),
        "validation": make_examples(["other"], split="validation"),
        "test": make_examples(["  alone", near + "!"], split="test"),
    }
    counted = {pair.splits: pair for pair in count_duplicates(splits, find_families(splits, 0.8))}
    assert len(counted) == 6
    within, across = counted["train", "train"], counted["train", "test"]
    assert (within.exact, within.near) == (1, 1)
    assert within.pairs == (("train.csv:1", "train.csv:0"), ("train.csv:2", "train.csv:0"))
    assert (across.exact, across.near) == (1, 3)
    assert ("train.csv:3", "test.csv:0") in across.pairs
    assert (counted["test", "test"].exact, counted["train", "validation"].near) == (0, 0)


def test_marks_follow_the_order_of_splits(make_examples):
    splits = {
        "train": make_examples(["one", "two", "two", "three"], split="train"),
        "validation": make_examples(["three", "four", "four"], split="validation"),
        "test": make_examples(["one", "five", "five"], split="test"),
    }
    found = find_families(splits, 0.8)
    across = {name: marks.tolist() for name, marks in mark_duplicates(found, within=False).items()}
    assert across == {"train": [True, False, False, True], "validation": [False] * 3, "test": [False] * 3}
    every = {name: marks.tolist() for name, marks in mark_duplicates(found, within=True).items()}
    assert every == {
        "train": [True, False, True, True],
        "validation": [False, False, True],
        "test": [False, False, True],
    }


def test_nothing_is_left_after_dropping_all(make_examples):
    texts = make_texts(300, 3)
    splits = {"train": make_examples(texts[:200]), "test": make_examples(texts[200:], split="test")}
    marks = mark_duplicates(find_families(splits, 0.8), within=True)
    kept = {
        name: [row for row, mark in zip(rows, marks[name], strict=True) if not mark] for name, rows in splits.items()
    }
    assert sum(map(len, kept.values())) < 300
    assert all(pair.exact == pair.near == 0 for pair in count_duplicates(kept, find_families(kept, 0.8)))


def test_contradicting_copies_are_counted():
    rows = [
        Example(str(place), "train", text, gold, "o")
        for place, (text, gold) in enumerate([("A", "x"), ("a", "y"), ("b", "x"), ("b", "x")])
    ]
    splits = {"train": rows}
    assert count_conflicts(splits, find_families(splits, 0.8)) == 1


def test_twenty_thousand_rows_with_planted_copies(make_examples):
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefghijklmnopqrst", k=draw.randint(3, 8))) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=25)) for _ in range(19_000)]
    texts += [text.replace(text.split()[12], "changed", 1) for text in texts[:1000]]
    found = find_families({"train": make_examples(texts)}, 0.8).families["train"]
    joined = np.sum(found[:1000] == found[19_000:])
    assert joined >= 985  # a changed word of five letters or more of some 160 can fall below 0.8
    assert len(np.unique(found)) == 20_000 - joined


def test_a_template_with_thousands_of_copies_is_joined(make_examples):
    texts = [f"{LONG} {LONG.replace('film', 'book')} number {place}" for place in range(3000)]
    assert len(set(find_families({"train": make_examples(texts)}, 0.8).families["train"].tolist())) == 1


def test_no_rows_have_no_families():
    assert count_duplicates({"train": []}, find_families({"train": []}, 0.8))[0].exact == 0
