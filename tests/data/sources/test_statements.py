import re
from collections import Counter
from math import isqrt

import pytest

from whichtune.data.load import load_data
from whichtune.data.sources.statements import list_statements
from whichtune.prompts.styles import find_wording
from whichtune.spec.prompts import PromptSpec
from whichtune.spec.sources import DataSpec

ROWS = list_statements()
SPEC = {"source": {"kind": "statements"}, "columns": {"id": "id", "group": "topic"}, "duplicates": "drop-all"}


def test_there_are_two_hundred_balanced_in_every_topic():
    assert len(ROWS) >= 200
    assert len({text.casefold() for _, text, _, _ in ROWS}) == len({id_ for id_, *_ in ROWS}) == len(ROWS)
    by_topic = Counter((topic, label) for _, _, label, topic in ROWS)
    assert len(by_topic) == 24
    assert set(by_topic.values()) == {9}
    assert all(text[0].isupper() or text[0].isdigit() for _, text, _, _ in ROWS)
    assert all(text.endswith(".") for _, text, _, _ in ROWS)


@pytest.mark.parametrize(
    ("statement", "label"),
    [
        ("The Great Pyramid of Giza is located in Egypt.", "true"),
        ("4 + 4 = 16.", "false"),
        ("Mount Everest is the tallest mountain on Earth.", "true"),
        ("Bats are blind.", "false"),
        ("Sharks are mammals.", "false"),
    ],
)
def test_the_five_of_the_published_experiment_are_among_them(statement, label):
    assert (statement, label) in {(text, label) for _, text, label, _ in ROWS}


OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": lambda a, b: a // b if a % b == 0 else None}


@pytest.mark.parametrize(("text", "label"), [(text, label) for _, text, label, topic in ROWS if topic == "arithmetic"])
def test_a_program_agrees_on_sums(text, label):
    left, operation, right, result = re.fullmatch(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", text).groups()
    assert (OPERATIONS[operation](int(left), int(right)) == int(result)) == (label == "true")


def is_prime(number):
    return number > 1 and all(number % below for below in range(2, isqrt(number) + 1))


CLAIMS = [
    (r"(\d+) is a prime number", is_prime),
    (r"(\d+) is an even number", lambda a: a % 2 == 0),
    (r"(\d+) is an odd number", lambda a: a % 2 == 1),
    (r"(\d+) is divisible by (\d+)", lambda a, b: a % b == 0),
    (r"(\d+) is the square of (\d+)", lambda a, b: a == b * b),
    (r"(\d+) is less than (\d+)", lambda a, b: a < b),
    (r"(\d+) is greater than (\d+)", lambda a, b: a > b),
]


@pytest.mark.parametrize(("text", "label"), [(text, label) for _, text, label, topic in ROWS if topic == "numbers"])
def test_a_program_agrees_on_numbers(text, label):
    [(match, holds)] = [(found, holds) for form, holds in CLAIMS if (found := re.fullmatch(rf"{form}\.", text))]
    assert holds(*map(int, match.groups())) == (label == "true")


def test_they_load_as_a_data_set_with_their_topics():
    data = load_data(DataSpec.model_validate(SPEC))
    assert data.labels == ("false", "true")
    assert sum(len(rows) for rows in data.examples.values()) == len(ROWS)  # no near copies among them
    assert len({one.group for rows in data.examples.values() for one in rows}) == 12
    assert data.report.source.startswith(f"statements: {len(ROWS)} of our own (sha256 ")


def test_no_worked_example_of_a_prompt_is_among_them():
    worked = {one.text for one in find_wording(PromptSpec(wording="statements")).worked}
    assert worked
    assert not worked & {text for _, text, _, _ in ROWS}
