from collections import Counter

import numpy as np
import pytest

from whichtune.data.load import load_data
from whichtune.errors import DataError
from whichtune.methods.hypothesis_only import HypothesisOnly
from whichtune.spec.sources import DataSpec

COLUMNS = {"text": "premise", "pair": "hypothesis", "group": "phenomenon"}


def load(columns=COLUMNS, **source):
    spec = {"source": {"kind": "nli-grammar", **source}, "columns": columns}
    return load_data(DataSpec.model_validate(spec))


@pytest.fixture(scope="module")
def data():
    return load()


def test_the_default_set_is_large_balanced_and_split(data):
    counts = {split: len(rows) for split, rows in data.examples.items()}
    assert counts == {"train": 3366, "validation": 486, "test": 954}
    assert data.labels == ("contradiction", "entailment", "neutral")
    assert all(len(set(shares.values())) == 1 for shares in data.report.balance.values())
    assert len(Counter(one.group for one in data.examples["test"])) == 6
    assert data.report.dropped == ()
    across = [one for one in data.report.duplicates if one.splits[0] != one.splits[1]]
    assert all(one.exact == one.near == 0 for one in across)


def test_the_hypothesis_alone_gives_nothing(data):
    train, test = data.examples["train"], data.examples["test"]
    gold = {
        name: np.array([data.labels.index(one.gold) for one in rows])
        for name, rows in (("train", train), ("test", test))
    }
    shares = HypothesisOnly().fit(train, gold["train"], 3)(test)
    assert abs(float((shares.argmax(axis=1) == gold["test"]).mean()) - 1 / 3) < 0.03


def test_the_fingerprint_follows_seed_and_size():
    small = {load(size=300, seed=seed).fingerprint for seed in (0, 0, 1)}
    assert len(small | {load(size=600).fingerprint}) == 3


def test_the_columns_are_named_when_others_are_asked_for():
    with pytest.raises(DataError, match="has no column `text`; allowed: premise, hypothesis, label, phenomenon"):
        load(columns={}, size=300)
