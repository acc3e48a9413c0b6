import pytest

from whichtune.errors import ModelError
from whichtune.methods.targets import resolve_targets


def paths(backbone, *words):
    return [target.path for target in resolve_targets(backbone, words)]


def test_words_of_the_anatomy(tiny_backbone):
    found = paths(tiny_backbone(), "query", "value")
    assert found == [f"encoder.layer.{block}.attention.self.{name}" for block in (0, 1) for name in ("query", "value")]


def test_groups(tiny_backbone):
    backbone = tiny_backbone()
    assert len(paths(backbone, "attention")) == 2 * 4
    assert len(paths(backbone, "all-linear")) == 2 * 6


def test_a_module_name_matches_whole_components_only(tiny_backbone):
    backbone = tiny_backbone()
    assert len(paths(backbone, "intermediate.dense")) == 2
    with pytest.raises(ModelError):
        paths(backbone, "ntermediate.dense")


def test_the_same_module_twice_is_adapted_once(tiny_backbone):
    backbone = tiny_backbone()
    assert len(paths(backbone, "query", "attention", "attention.self.query")) == 2 * 4


def test_a_misspelt_target_is_named_with_its_neighbours(tiny_backbone):
    with pytest.raises(ModelError, match=r"'qurey'.*did you mean.*'query'"):
        paths(tiny_backbone(), "qurey")


def test_projections_that_read_one_input_share_its_name(tiny_backbone):
    query, key, value, output, *_ = resolve_targets(tiny_backbone(), ("attention",))
    assert query.reads == key.reads == value.reads != output.reads
