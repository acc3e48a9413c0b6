import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.spec.digest import canonical, digest
from whichtune.spec.methods import LoraSpec
from whichtune.spec.training import TrainingSpec

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
TREES = st.recursive(
    SCALARS,
    lambda tree: st.lists(tree, max_size=3) | st.dictionaries(st.text(max_size=3), tree, max_size=4),
    max_leaves=12,
)


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def paths(value, path=()):
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, item in items for found in paths(item, (*path, key))]
    return [path]


def changed(value, path):
    if not path:
        return "something else"
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:])
    return copy


@given(TREES)
def test_key_order_does_not_matter_and_every_leaf_does(tree):
    assert digest(tree) == digest(reordered(tree))
    for path in paths(tree):
        assert digest(changed(tree, path)) != digest(tree)


@given(TREES)
def test_canonical_text_is_the_value(tree):
    assert json.loads(canonical(tree)) == tree


@pytest.mark.parametrize("field", sorted(TrainingSpec.model_fields))
def test_every_setting_is_part_of_the_hash(field):
    other = {"epochs": 4, "max_steps": 7, "batch_size": 3, "accumulate": 2, "max_length": 64, "order": "by-length"}
    other |= {"betas": (0.8, 0.9), "epsilon": 1e-6, "weight_decay": 0.1, "schedule": "cosine", "warmup": 0.1}
    other |= {"clip_norm": None, "precision": "bfloat16", "gradient_checkpointing": True, "validate_every": 5}
    other |= {"stopping": {}, "keep": "best", "head_dropout": 0.3}
    other |= {"sampling": "balanced", "class_weights": {"rare": 5}}
    if field == "optimizer":
        return  # one choice only
    assert digest(TrainingSpec.model_validate({field: other[field]})) != digest(TrainingSpec())


def test_a_default_and_the_same_value_given_hash_alike():
    assert digest(LoraSpec(kind="lora")) == digest(LoraSpec.model_validate({"kind": "lora", "alpha": 16, "rank": 8}))
    assert digest(TrainingSpec()) == digest(TrainingSpec.model_validate({"epochs": 3, "clip_norm": 1}))
    assert digest({"rate": 1e-3}) == digest({"rate": 0.001})


def test_tuples_hash_as_lists_and_unknown_types_are_refused():
    assert digest((1, 2)) == digest([1, 2])
    assert len(digest({}, length=40)) == 40
    for value in ({1, 2}, Path("x"), float("nan")):
        with pytest.raises((TypeError, ValueError)):
            digest({"a": value})
