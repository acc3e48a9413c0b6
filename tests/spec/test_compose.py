import math

import pytest

from whichtune.errors import SpecError
from whichtune.spec.compose import compose, read_word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 0.001), ("1E5", 100000.0), ("5e-5", 5e-5), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("+3", 3), ("0", 0),
        ("0o10", 8), ("0xff", 255), ("null", None), ("~", None), ("Null", None), ("", None),
        ("true", True), ("TRUE", True), ("False", False), ("-.inf", -math.inf),
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("off", "off"), ("y", "y"), ("No", "No"), ("none", "none"),
        ("010", "010"), ("00", "00"), ("010.5", "010.5"), ("1_000", "1_000"),
        ("1:30", "1:30"), ("2020-01-01", "2020-01-01"),
        ("1e", "1e"), (".", "."), ("-", "-"), ("=", "="), ("inf", "inf"), ("nan", "nan"), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_plain_words_are_what_yaml_1_2_says(word, value):
    found = read_word(word)
    assert found == value
    assert type(found) is type(value)


def test_values_keep_their_line_and_their_text():
    root, faults = compose("a: 1e-3\n\n# note\nb:\n  c: [x,\n    010]\nd:\n  - 1\n  - 2\n", "f.yaml")
    assert not faults
    assert root.plain() == {"a": 0.001, "b": {"c": ["x", "010"]}, "d": [1, 2]}
    assert [str(root.at(*steps).place) for steps in [("a",), ("b",), ("b", "c"), ("b", "c", 1), ("d", 1)]] == [
        "f.yaml:1", "f.yaml:4", "f.yaml:5", "f.yaml:6", "f.yaml:9"
    ]  # fmt: skip
    assert root.at("a").written == "1e-3"


def test_quotes_blocks_anchors_and_text_tags():
    root, faults = compose("a: '010'\nb: !!str 5\nc: |\n  x\n  y\nd: &n {e: 1}\nf: *n\n\"on\": 1\n", "f")
    assert not faults
    assert root.plain() == {"a": "010", "b": "5", "c": "x\ny\n", "d": {"e": 1}, "f": {"e": 1}, "on": 1}
    assert root.at("f").place.line == 7


def test_keys_are_words_whatever_they_look_like():
    root, _ = compose("no: 1\n010: 2\ntrue: 3\n1e-3: 4\n", "f")
    assert root.plain() == {"no": 1, "010": 2, "true": 3, "1e-3": 4}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_text_is_nothing(text):
    assert compose(text, "f")[0].content is None


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "`a` stands twice in one mapping, first at f:1"),
        ("a: {b: 1,\n b: 2}\n", 2, "`b` stands twice"),
        ("a: 1\n---\nb: 1\n", 2, "second document"),
        ("a: !thing 1\n", 1, "tag !thing"),
        ("x: 1\na: *gone\n", 2, "`*gone` has no anchor"),
        ("? [a, b]\n: 1\n", 1, "a key must be a single word"),
    ],
)
def test_faults_that_leave_a_tree_are_told_with_their_line(text, line, told):
    _, faults = compose(text, "f")
    assert [fault.place.line for fault in faults] == [line]
    assert told in str(faults[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:\n\tb: 1\n", "f:2: not YAML: .*spaces, not with tabs"),
        ("a: b: c\n", "f:1: not YAML: .*in quotes"),
        ("a: [1\nb: 2\n", "f:2: not YAML"),
        ("a: \x07\n", "f: not YAML"),
    ],
)
def test_what_is_no_yaml_is_one_error(text, told):
    with pytest.raises(SpecError, match=told):
        compose(text, "f")
