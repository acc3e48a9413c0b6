"""Class names in templates: what a tower of texts reads, and what is refused before anything is loaded."""

import pytest

from whichtune.errors import SpecError
from whichtune.prompts.class_names import name_classes, write_classes
from whichtune.spec.zero_shot import ZeroShotSpec


def spec_of(**fields):
    return ZeroShotSpec(kind="zero-shot", **fields)


def test_each_label_is_filled_into_each_template():
    spec = spec_of(templates=("a photo of a {{ label }}.", "{{ label|upper }}!"), words={"b": "hot  dog"})
    assert write_classes(spec, ("apple_pie", "b")) == [
        ["a photo of a apple pie.", "APPLE PIE!"],
        ["a photo of a hot dog.", "HOT DOG!"],
    ]


def test_a_label_is_never_read_as_a_template():
    assert write_classes(spec_of(), ("{{ 7 }}",)) == [["a photo of a {{ 7 }}."]]


@pytest.mark.parametrize(
    "fields, labels, told",
    [
        ({"templates": ("a photo",)}, ("a", "b"), "number 1: all classes would read alike"),
        ({"templates": ("{{ label }}", "{{ name }}")}, ("a", "b"), "number 2 names something that is not there.*name"),
        ({"templates": ("{{ label",)}, ("a", "b"), "not a template"),
        ({"words": {"cirle": "x"}}, ("circle", "b"), "label that the data does not have.*did you mean 'circle'"),
        ({"words": {"a": " "}}, ("a", "b"), "name of a label is empty"),
        ({}, ("red_car", "Red car"), "'red_car' and 'Red car' have one name"),
        ({"words": {"a": "b"}}, ("a", "b"), "'a' and 'b' have one name"),
    ],
)
def test_what_cannot_tell_classes_apart_is_refused(fields, labels, told):
    with pytest.raises(SpecError, match=told):
        write_classes(spec_of(**fields), labels)


def test_names_keep_the_order_of_labels():
    assert name_classes(spec_of(words={"x": "zebra"}), ("x", "a_b", "7")) == ["zebra", "a b", "7"]
